import { expect, it } from "vitest";
import { smooth } from "./smooth";

it("averages over what there is, and keeps gaps", () => {
  expect(smooth([1, 2, 3, 4, 5], 1)).toEqual([1.5, 2, 3, 4, 4.5]);
  expect(smooth([1, null, 3], 1)).toEqual([1, null, 3]);
  expect(smooth([], 3)).toEqual([]);
});
