/** Points of a plane into a drawing, one scale for both axes: distances stay comparable. */
export interface Point {
  x: number;
  y: number;
}

/** A function from points to places in a drawing of `width` × `height`, all of `points` inside `margin`; up stays up. */
export function fitPoints(points: Point[], width: number, height: number, margin: number): (point: Point) => [number, number] {
  const range = (values: number[]): [number, number] => (values.length ? [Math.min(...values), Math.max(...values)] : [0, 0]);
  const [left, right] = range(points.map(({ x }) => x));
  const [low, high] = range(points.map(({ y }) => y));
  const scale = Math.min((width - 2 * margin) / (right - left || 1), (height - 2 * margin) / (high - low || 1));
  const [centreX, centreY] = [(left + right) / 2, (low + high) / 2];
  const round = (value: number) => Math.round(value * 100) / 100;
  return ({ x, y }) => [round(width / 2 + (x - centreX) * scale), round(height / 2 - (y - centreY) * scale)];
}
