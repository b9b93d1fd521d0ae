/** A range of scores as bins of a histogram, and as the two figures of an address. */
import type { HistogramBin } from "./api/types";

/** Borders between bins, in the histogram's own steps: `[from, to]` with `0 ≤ from < to ≤ bins`. */
export type Span = [number, number];

/** To the outside at three digits, so that a candidate on the border is in. */
const down = (value: number): string => String(Math.floor(value * 1000 + 1e-6) / 1000);
const up = (value: number): string => String(Math.ceil(value * 1000 - 1e-6) / 1000);

/** The bins that an address's range covers; all of them where it names none. */
export function spanOf(bins: HistogramBin[], low: string | undefined, high: string | undefined): Span {
  const first = bins[0];
  if (!first || bins.length === 0) return [0, 0];
  const width = first.to - first.from || 1;
  const place = (text: string | undefined, otherwise: number) => {
    const value = Number(text);
    if (text === undefined || text === "" || !Number.isFinite(value)) return otherwise;
    return Math.max(0, Math.min(bins.length, Math.round((value - first.from) / width)));
  };
  const from = Math.min(place(low, 0), bins.length - 1);
  return [from, Math.max(from + 1, place(high, bins.length))];
}

/** What the address says of a range; nothing for an end that is the histogram's own. */
export function rangeOf(bins: HistogramBin[], [from, to]: Span): { min_score: string | null; max_score: string | null } {
  return {
    min_score: from > 0 && bins[from] ? down(bins[from].from) : null,
    max_score: to < bins.length && bins[to - 1] ? up((bins[to - 1] as HistogramBin).to) : null,
  };
}

/** The span between where a drag began and where it is, both as shares of the width, at least one bin wide. */
export function spanOfDrag(began: number, now: number, bins: number): Span {
  const bin = (share: number) => Math.max(0, Math.min(bins - 1, Math.floor(share * bins)));
  return [Math.min(bin(began), bin(now)), Math.max(bin(began), bin(now)) + 1];
}
