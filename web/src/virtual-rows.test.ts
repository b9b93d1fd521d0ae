import { describe, expect, test } from "vitest";
import { cardAfterKey, gridShape, grow, rowsNear } from "./virtual-rows";

describe("gridShape", () => {
  test("fills the width with as many columns as fit", () => {
    expect(gridShape(1100, 264, 16)).toEqual({ columns: 3, columnWidth: (1100 - 32) / 3 });
    expect(gridShape(264 * 4 + 16 * 3, 264, 16)).toEqual({ columns: 4, columnWidth: 264 });
  });
  test("has one column where not even one fits", () => {
    expect(gridShape(200, 264, 16)).toEqual({ columns: 1, columnWidth: 200 });
  });
});

describe("rowsNear", () => {
  test("holds the window's rows and some on both sides", () => {
    expect(rowsNear(1000, 900, 300, 100, 2)).toEqual([1, 9]);
  });
  test("stays within the grid at both ends", () => {
    expect(rowsNear(-500, 900, 300, 100, 2)).toEqual([0, 4]);
    expect(rowsNear(29_800, 900, 300, 100, 2)).toEqual([97, 100]);
    expect(rowsNear(99_999, 900, 300, 100, 2)).toEqual([100, 100]);
    expect(rowsNear(0, 900, 300, 0, 2)).toEqual([0, 0]);
  });
  test("every row of the window is in it, wherever it is", () => {
    for (let top = 0; top < 30_000; top += 137) {
      const [first, last] = rowsNear(top, 900, 300, 100, 0);
      expect(first * 300).toBeLessThanOrEqual(top);
      expect(last * 300).toBeGreaterThanOrEqual(Math.min(top + 900, 30_000));
    }
  });
});

describe("cardAfterKey", () => {
  test.each([
    ["ArrowRight", 0, 1],
    ["ArrowLeft", 0, 0],
    ["ArrowDown", 2, 6],
    ["ArrowDown", 8, 8],
    ["ArrowUp", 6, 2],
    ["PageDown", 1, 9],
    ["PageDown", 5, 9],
    ["PageUp", 6, 2],
    ["Home", 7, 0],
    ["End", 0, 9],
  ])("%s from %i leads to %i", (key, from, to) => {
    expect(cardAfterKey(key, from, 10, 4, 2)).toBe(to);
  });
  test("other keys move nothing", () => {
    expect(cardAfterKey("a", 0, 10, 4, 2)).toBeNull();
  });
});

describe("grow", () => {
  test("shows the window at once and the rest in steps", () => {
    const wanted: [number, number] = [8, 40];
    const visible: [number, number] = [16, 28];
    let shown = grow([0, 0], wanted, visible, 2);
    expect(shown).toEqual([14, 30]);
    let rounds = 0;
    while (String(shown) !== String(wanted)) {
      const next = grow(shown, wanted, visible, 2);
      expect(next[0]).toBeGreaterThanOrEqual(shown[0] - 2);
      expect(next[1]).toBeLessThanOrEqual(shown[1] + 2);
      shown = next;
      rounds += 1;
      expect(rounds).toBeLessThan(20);
    }
  });
  test("leaves what is far from the window at once", () => {
    expect(grow([0, 40], [100, 140], [108, 120], 2)).toEqual([106, 122]);
    expect(grow([0, 40], [4, 36], [12, 28], 2)).toEqual([4, 36]);
  });
});
