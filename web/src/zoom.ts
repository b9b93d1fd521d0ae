/** Where a zoomed picture lies: pure, so that it can be tested. */

export interface ZoomView {
  /** 1 shows the whole picture. */
  scale: number;
  /** Where its left upper corner is, in widths of the frame: 0 down to 1 − scale. */
  x: number;
  y: number;
}

export const UNZOOMED: ZoomView = { scale: 1, x: 0, y: 0 };
const MOST = 12;

/** The picture always fills its frame. */
export function clampView({ scale, x, y }: ZoomView): ZoomView {
  const size = Math.min(MOST, Math.max(1, scale));
  const inside = (value: number) => Math.min(0, Math.max(1 - size, value));
  return { scale: size, x: inside(x), y: inside(y) };
}

/** Zooms so that what lies under (x, y) of the frame stays there. */
export function zoomAt(view: ZoomView, factor: number, x: number, y: number): ZoomView {
  const scale = Math.min(MOST, Math.max(1, view.scale * factor));
  const ratio = scale / view.scale;
  return clampView({ scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio });
}
