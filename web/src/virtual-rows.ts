/** Which rows of a long grid are near the window: only those are in the document. */

export interface GridShape {
  columns: number;
  /** Pixels. */
  columnWidth: number;
}

/** As many columns of at least `least` pixels as fit, `gap` pixels apart: what CSS's `auto-fill` does. */
export function gridShape(width: number, least: number, gap: number): GridShape {
  const columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
  return { columns, columnWidth: Math.max(0, (width - (columns - 1) * gap) / columns) };
}

/**
 * First row and the one after the last that touch `[top, top + height)` of the grid, `ahead` rows more on both sides.
 * `pitch` is a row's height with its gap, in pixels.
 */
export function rowsNear(top: number, height: number, pitch: number, rows: number, ahead: number): [number, number] {
  if (rows === 0 || pitch <= 0) return [0, 0];
  const first = Math.min(rows, Math.max(0, Math.floor(top / pitch) - ahead));
  const last = Math.min(rows, Math.max(0, Math.ceil((top + height) / pitch) + ahead));
  return [first, Math.max(first, last)];
}

/** Where a key leads from `index` in a grid of `count` cards; null for a key that moves nothing. */
export function cardAfterKey(key: string, index: number, count: number, columns: number, rowsOfWindow: number): number | null {
  const moves: Record<string, number> = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    PageUp: -columns * rowsOfWindow,
    PageDown: columns * rowsOfWindow,
    Home: -index,
    End: count - 1 - index,
  };
  const move = moves[key];
  if (move === undefined || count === 0) return null;
  const target = index + move;
  // Up and down keep their column: past an end they stay where they are, but a page stops at the last row.
  if (target < 0) return key === "PageUp" ? index % columns : index;
  if (target >= count) return key === "PageDown" ? count - 1 : index;
  return target;
}

/**
 * The next range of places in the document on its way from `shown` to `wanted`: all that is in the window at once, of the
 * others at most `step` at each end, so that no frame has to make a whole row. Ranges are `[from, to)`.
 */
export function grow(shown: [number, number], wanted: [number, number], visible: [number, number], step: number): [number, number] {
  const apart = shown[0] >= shown[1] || shown[1] < visible[0] || shown[0] > visible[1];
  const [from, to] = apart ? visible : shown;
  return [Math.min(visible[0], Math.max(wanted[0], from - step)), Math.max(visible[1], Math.min(wanted[1], to + step))];
}
