import { expect, it } from "vitest";
import { alignSteps } from "./align-steps";

it("puts runs of different lengths and strides on one axis", () => {
  expect(
    alignSteps([
      { steps: [0, 2, 4], values: [1, null, 3] },
      { steps: [1, 2], values: [7, 8] },
    ]),
  ).toEqual([
    [0, 1, 2, 4],
    [1, null, null, 3],
    [null, 7, 8, null],
  ]);
  expect(alignSteps([])).toEqual([[]]);
});
