import { describe, expect, test } from "vitest";
import { rangeOf, spanOf, spanOfDrag } from "./score-range";

const BINS = Array.from({ length: 20 }, (_, k) => ({ from: k * 0.05, to: (k + 1) * 0.05, count: k }));

describe("a range of scores", () => {
  test("is all bins where the address names none", () => {
    expect(spanOf(BINS, undefined, undefined)).toEqual([0, 20]);
    expect(spanOf(BINS, "", "no number")).toEqual([0, 20]);
    expect(rangeOf(BINS, [0, 20])).toEqual({ min_score: null, max_score: null });
  });
  test("goes to the address and comes back as it was", () => {
    for (let from = 0; from < 20; from += 1) {
      for (let to = from + 1; to <= 20; to += 1) {
        const { min_score, max_score } = rangeOf(BINS, [from, to]);
        expect(spanOf(BINS, min_score ?? undefined, max_score ?? undefined)).toEqual([from, to]);
      }
    }
  });
  test("keeps what lies on its borders", () => {
    const { min_score, max_score } = rangeOf(BINS, [6, 7]);
    expect(Number(min_score)).toBeLessThanOrEqual(0.3);
    expect(Number(max_score)).toBeGreaterThanOrEqual(0.35);
  });
  test("holds at least one bin, whatever the address says", () => {
    expect(spanOf(BINS, "0.9", "0.1")).toEqual([18, 19]);
    expect(spanOf(BINS, "7", undefined)).toEqual([19, 20]);
    expect(spanOf([], "0.1", "0.2")).toEqual([0, 0]);
  });
  test("a drag works in both directions and past the ends", () => {
    expect(spanOfDrag(0.22, 0.61, 20)).toEqual([4, 13]);
    expect(spanOfDrag(0.61, 0.22, 20)).toEqual([4, 13]);
    expect(spanOfDrag(0.5, 1.7, 20)).toEqual([10, 20]);
    expect(spanOfDrag(0.5, -1, 20)).toEqual([0, 11]);
    expect(spanOfDrag(0.5, 0.5, 20)).toEqual([10, 11]);
  });
});
