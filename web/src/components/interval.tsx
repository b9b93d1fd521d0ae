/** A difference and its interval on an axis through zero. */
import { formatDelta } from "../format";

export interface IntervalRow {
  name: string;
  delta: number;
  low: number;
  high: number;
  tone?: string | undefined;
}

export function Intervals({ rows }: { rows: IntervalRow[] }) {
  const reach = Math.max(0.01, ...rows.flatMap(({ low, high }) => [Math.abs(low), Math.abs(high)])) * 1.1;
  const at = (value: number) => 50 + (value / reach) * 50;
  return (
    <div class="intervals" role="list">
      {rows.map((row) => (
        <div
          key={row.name}
          class="interval-row"
          role="listitem"
          aria-label={`${row.name}: ${formatDelta(row.delta)}, 95 % interval ${formatDelta(row.low)} to ${formatDelta(row.high)}`}
        >
          <span class="interval-name">{row.name}</span>
          <span class="interval-track" style={{ "--tone": `var(--${row.tone ?? "accent"})` }}>
            <i class="interval-zero" />
            <i class="interval-range" style={{ left: `${at(row.low)}%`, width: `${at(row.high) - at(row.low)}%` }} />
            <i class="interval-point" style={{ left: `${at(row.delta)}%` }} />
          </span>
          <span class={`interval-value tabular ${row.low > 0 ? "up" : row.high < 0 ? "down" : ""}`}>{formatDelta(row.delta)}</span>
        </div>
      ))}
    </div>
  );
}
