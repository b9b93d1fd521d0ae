import { expect, test } from "vitest";
import { fitPoints } from "./fit-points";

test("points fill the drawing up to its margin, with one scale and up as up", () => {
  const points = [
    { x: -10, y: 0 },
    { x: 10, y: 5 },
  ];
  const place = fitPoints(points, 120, 100, 10);
  expect(place({ x: -10, y: 0 })).toEqual([10, 62.5]);
  expect(place({ x: 10, y: 5 })).toEqual([110, 37.5]);
});

test("points that are one stand in the middle", () => {
  expect(fitPoints([{ x: 3, y: 3 }], 100, 50, 5)({ x: 3, y: 3 })).toEqual([50, 25]);
  expect(fitPoints([], 100, 50, 5)({ x: 0, y: 0 })).toEqual([50, 25]);
});
