import { expect, it } from "vitest";
import { parseJson, withQuery } from "./client";
import { toJobEvent } from "./events";
import { flattenPoint, mergePoints } from "./metrics";

it("keeps every digit of a seed", () => {
  expect(parseJson('{"seed": 9223372036854775807, "index": 3}')).toEqual({ seed: "9223372036854775807", index: 3 });
  expect(parseJson('{"seed": 17}')).toEqual({ seed: 17 });
});

it("leaves empty parameters out of an address", () => {
  expect(withQuery("/graphs", { split: "train", label: undefined, cursor: null, text: "" })).toBe("/graphs?split=train");
  expect(withQuery("/graphs")).toBe("/graphs");
});

it("reads events with and without an envelope", () => {
  expect(toJobEvent("3", "state", '{"state":"running"}')).toMatchObject({ sequence: 3, kind: "state", data: { state: "running" } });
  expect(toJobEvent("3", "state", '{"sequence":3,"at":"2026-01-01T00:00:00Z","kind":"state","data":1}')).toEqual({
    sequence: 3,
    at: "2026-01-01T00:00:00Z",
    kind: "state",
    data: 1,
  });
  expect(toJobEvent(undefined, undefined, "hello")).toBeNull();
});

it("merges metrics by step, the newer point winning after a resume", () => {
  const old = [{ step: 1, loss: 1 }, { step: 2, loss: 2 }];
  expect(mergePoints(old, [{ step: 3, loss: 3 }])).toHaveLength(3);
  expect(mergePoints(old, [{ step: 2, loss: 9 }, { step: 3, loss: 3 }]).map(({ loss }) => loss)).toEqual([1, 9, 3]);
  expect(flattenPoint({ step: 4, metrics: { loss: 0.5 } } as never)).toEqual({ step: 4, loss: 0.5 });
});
