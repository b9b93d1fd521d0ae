import { expect, it } from "vitest";
import type { Contest } from "./api/types";
import { EMPTY_QUEUE, enqueue, judge, undo, unjudge } from "./vote-queue";

const contest = (name: string): Contest => ({
  graph_id: name,
  caption: name,
  left: { id: `${name}-l`, image_url: "" },
  right: { id: `${name}-r`, image_url: "" },
});
const names = (contests: Contest[]) => contests.map(({ caption }) => caption);

it("goes on, back, and takes no pair twice", () => {
  let state = enqueue({ ...EMPTY_QUEUE, remaining: 3 }, [contest("a"), contest("b")]);
  state = judge(state, "left");
  // The server has not heard of the vote on `a` yet.
  state = enqueue(state, [contest("a"), contest("b"), contest("c")]);
  expect(names(state.waiting)).toEqual(["b", "c"]);
  expect([state.voted, state.remaining]).toEqual([1, 2]);
  state = undo(judge(state, "both_bad"));
  expect(names(state.waiting)).toEqual(["b", "c"]);
  expect(state.judged.map(({ choice }) => choice)).toEqual(["left"]);
  expect(undo(undo(state))).toEqual(undo(state));
});

it("gives back a pair whose vote did not arrive", () => {
  const state = judge(judge(enqueue(EMPTY_QUEUE, [contest("a"), contest("b"), contest("c")]), "left"), "right");
  expect(names(unjudge(state, contest("a")).waiting)).toEqual(["a", "c"]);
  expect(unjudge(state, contest("c"))).toBe(state);
});
