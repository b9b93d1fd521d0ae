import { describe, expect, it } from "vitest";
import { formatAgo, formatBytes, formatDelta, formatNumber, formatScore, formatSeconds } from "./format";

describe("numbers", () => {
  it("shows nothing as a dash", () => {
    expect([formatScore(null), formatScore(undefined), formatScore(Number.NaN), formatDelta(null), formatNumber(null)]).toEqual(["–", "–", "–", "–", "–"]);
  });
  it("signs differences with a true minus", () => {
    expect(formatDelta(0.0391)).toBe("+0.039");
    expect(formatDelta(-0.0391)).toBe("−0.039");
  });
  it("keeps whole numbers whole and small ones short", () => {
    expect(formatNumber(31_400_000)).toBe("31,400,000");
    expect(formatNumber(3e-5)).toBe("3e−5");
    expect(formatNumber(0.0005)).toBe("0.0005");
    expect(formatNumber(0.69314)).toBe("0.6931");
    expect(formatNumber(-2)).toBe("−2");
  });
});

describe("times and sizes", () => {
  it("reads as people say it", () => {
    expect(formatSeconds(3.21)).toBe("3.2 s");
    expect(formatSeconds(161)).toBe("2 min 41 s");
    expect(formatSeconds(3 * 3600 + 120)).toBe("3 h 2 min");
    expect(formatBytes(31_400_000)).toBe("31.4 MB");
    expect(formatAgo("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:05:00Z"))).toBe("5 min ago");
  });
});
