/** Counts over equal bins, as bars. */
import type { HistogramBin } from "../api/types";
import { formatCount, formatScore } from "../format";

export function Histogram({ bins, label }: { bins: HistogramBin[]; label: string }) {
  const highest = Math.max(1, ...bins.map((bin) => bin.count));
  const total = bins.reduce((sum, bin) => sum + bin.count, 0);
  return (
    <figure class="histogram" role="img" aria-label={`${label}: ${formatCount(total)} in ${bins.length} bins`}>
      <div class="histogram-bars">
        {bins.map((bin) => (
          <div key={bin.from} class="histogram-bin" title={`${formatScore(bin.from)} – ${formatScore(bin.to)}: ${formatCount(bin.count)}`}>
            <i style={{ height: `${(bin.count / highest) * 100}%` }} />
          </div>
        ))}
      </div>
      <figcaption class="row spread faint small tabular">
        <span>{formatScore(bins[0]?.from)}</span>
        <span>{label}</span>
        <span>{formatScore(bins.at(-1)?.to)}</span>
      </figcaption>
    </figure>
  );
}
