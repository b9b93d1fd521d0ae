import { expect, it } from "vitest";
import { clampView, UNZOOMED, zoomAt } from "./zoom";

it("keeps what is under the pointer where it is", () => {
  const view = zoomAt(UNZOOMED, 4, 0.25, 0.75);
  // The point of the picture that was at (0.25, 0.75).
  expect(view.x + 0.25 * view.scale).toBeCloseTo(0.25);
  expect(view.y + 0.75 * view.scale).toBeCloseTo(0.75);
  expect(zoomAt(view, 1 / 4, 0.25, 0.75)).toEqual(UNZOOMED);
});

it("never shows what lies beside the picture", () => {
  expect(clampView({ scale: 2, x: 0.5, y: -3 })).toEqual({ scale: 2, x: 0, y: -1 });
  expect(clampView({ scale: 0.2, x: 0, y: 0 })).toEqual(UNZOOMED);
});
