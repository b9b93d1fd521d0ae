import { expect, test } from "vitest";
import { graphTitle } from "./graph-words";

const objects = [
  { position: 0, label: "circle", attributes: ["small", "red"] },
  { position: 1, label: "square", attributes: [] },
  { position: 2, label: "star", attributes: ["blue"] },
];
const relations = [{ subject: 0, predicate: "left of", object: 1 }];

test("a caption stands, and without one the graph speaks for itself", () => {
  expect(graphTitle({ caption: "two shapes", img_id: "x", objects, relations })).toBe("two shapes");
  expect(graphTitle({ caption: " ", img_id: "x", objects, relations })).toBe("small red circle left of square; blue star");
  expect(graphTitle({ caption: "", img_id: "x", objects: [], relations: [] })).toBe("x");
});
