/** A histogram to drag on: the span that is drawn over its bars narrows a list; two sliders do the same by keys. */
import { useRef, useState } from "preact/hooks";
import type { HistogramBin } from "../api/types";
import { formatCount, formatScore } from "../format";
import { spanOfDrag, type Span } from "../score-range";

export function RangeHistogram({ bins, span, onChange, label }: { bins: HistogramBin[]; span: Span; onChange: (span: Span) => void; label: string }) {
  const bars = useRef<HTMLDivElement>(null);
  const began = useRef<number | null>(null);
  const [draft, setDraft] = useState<Span | null>(null);
  const [from, to] = draft ?? span;
  const highest = Math.max(1, ...bins.map(({ count }) => count));
  const inside = bins.slice(from, to).reduce((sum, { count }) => sum + count, 0);
  const share = (event: PointerEvent) => {
    const box = bars.current?.getBoundingClientRect();
    return box && box.width > 0 ? (event.clientX - box.left) / box.width : 0;
  };
  const low = bins[from]?.from;
  const high = bins[to - 1]?.to;
  const slider = (name: string, at: number, edge: number | undefined, least: number, most: number, put: (at: number) => Span) => (
    <input
      type="range"
      class="range range-end"
      aria-label={`${name} ${label}`}
      aria-valuetext={formatScore(edge)}
      min={0}
      max={bins.length}
      value={at}
      onInput={(event) => {
        const wanted = Math.max(least, Math.min(most, Number(event.currentTarget.value)));
        event.currentTarget.value = String(wanted);
        onChange(put(wanted));
      }}
    />
  );
  return (
    <div class="range-histogram">
      <div
        ref={bars}
        class="range-bars"
        title="Drag over the bars; a double click takes the whole range"
        onPointerDown={(event) => {
          if (event.button !== 0 || bins.length === 0) return;
          event.currentTarget.setPointerCapture(event.pointerId);
          began.current = share(event);
          setDraft(spanOfDrag(began.current, began.current, bins.length));
        }}
        onPointerMove={(event) => {
          if (began.current === null) return;
          const next = spanOfDrag(began.current, share(event), bins.length);
          if (draft && next[0] === draft[0] && next[1] === draft[1]) return;
          setDraft(next);
          onChange(next);
        }}
        onPointerUp={() => {
          if (began.current !== null && draft) onChange(draft);
          began.current = null;
          setDraft(null);
        }}
        onPointerCancel={() => {
          began.current = null;
          setDraft(null);
        }}
        onDblClick={() => onChange([0, bins.length])}
      >
        {bins.map((bin, place) => (
          <div key={place} class={place >= from && place < to ? "inside" : ""} title={`${formatScore(bin.from)} – ${formatScore(bin.to)}: ${formatCount(bin.count)}`}>
            <i style={{ height: bin.count > 0 ? `max(2px, ${(bin.count / highest) * 100}%)` : 0 }} />
          </div>
        ))}
      </div>
      <div class="range-ends">
        {slider("Least", from, low, 0, to - 1, (at) => [at, to])}
        {slider("Greatest", to, high, from + 1, bins.length, (at) => [from, at])}
      </div>
      <div class="row spread faint small tabular">
        <span>
          {formatScore(low)} – {formatScore(high)}
        </span>
        <span>{formatCount(inside)}</span>
      </div>
    </div>
  );
}
