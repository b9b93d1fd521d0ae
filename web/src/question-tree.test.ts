import { describe, expect, it } from "vitest";
import type { Question } from "./api/types";
import { litBy, questionRows, readTarget, verdicts } from "./question-tree";

const question = (question_id: number, kind: Question["kind"], parents: number[], target: unknown): Question => ({
  question_id,
  template_version: "1",
  kind,
  category: "",
  text: `question ${question_id}`,
  parents,
  target,
});

const QUESTIONS = [
  question(1, "entity", [], { kind: "entity", object: 0 }),
  question(2, "entity", [], { kind: "entity", object: 1 }),
  question(3, "attribute", [1], { kind: "attribute", object: 0, attribute: 0 }),
  question(4, "relation", [1, 2], { kind: "relation", relation: 0 }),
];
const OBJECTS = [
  { position: 0, item_id: 0, label: "circle", attributes: ["red"] },
  { position: 1, item_id: 1, label: "square", attributes: [] },
];
const RELATIONS = [{ subject: 0, predicate: "above", object: 1 }];

describe("questionRows", () => {
  it("shows each question once, below its last parent", () => {
    expect(questionRows(QUESTIONS).map(({ question: { question_id }, depth }) => [question_id, depth])).toEqual([
      [1, 0],
      [3, 1],
      [2, 0],
      [4, 1],
    ]);
  });

  it("loses nothing to a cycle or to an unknown parent", () => {
    const odd = [question(1, "entity", [2], null), question(2, "entity", [1], null), question(3, "entity", [99], null)];
    expect(questionRows(odd).map((row) => row.question.question_id).sort()).toEqual([1, 2, 3]);
  });
});

describe("readTarget", () => {
  it("reads both ways of tagging", () => {
    expect(readTarget({ entity: { object: 2 } })).toEqual({ kind: "entity", object: 2 });
    expect(readTarget({ Attribute: { object: 2, attribute: 1 } })).toEqual({ kind: "attribute", object: 2, attribute: 1 });
    expect(readTarget({ type: "relation", relation: 3 })).toEqual({ kind: "relation", relation: 3 });
    expect(readTarget("nonsense")).toBeNull();
  });
});

describe("litBy", () => {
  it("lights an object's relations and questions", () => {
    const lit = litBy({ object: 0 }, QUESTIONS, RELATIONS, OBJECTS);
    expect([...lit.questions].sort()).toEqual([1, 3, 4]);
    expect([...lit.relations]).toEqual([0]);
  });

  it("lights both ends of a relation's question", () => {
    const lit = litBy({ question: 4 }, QUESTIONS, RELATIONS, OBJECTS);
    expect([...lit.objects].sort()).toEqual([0, 1]);
    expect([...lit.questions]).toEqual([4]);
  });

  it("lights everything that a box's word may name", () => {
    const lit = litBy({ label: " Circle" }, QUESTIONS, RELATIONS, OBJECTS);
    expect([...lit.objects]).toEqual([0]);
    expect([...lit.questions].sort()).toEqual([1, 3, 4]);
    expect(litBy({ label: "dog" }, QUESTIONS, RELATIONS, OBJECTS).objects.size).toBe(0);
  });
});

describe("verdicts", () => {
  const answer = (question_id: number, value: "yes" | "no" | "cannot_answer") => ({ question_id, answer: value, probability: 1, answerer: "shapes", answerer_version: "1" });

  it("does not count what depends on a no or on a refusal", () => {
    const found = verdicts(QUESTIONS, [answer(1, "yes"), answer(2, "no"), answer(3, "yes"), answer(4, "yes")]);
    expect([...found.values()]).toEqual(["yes", "no", "yes", "masked"]);
  });

  it("says what was not asked", () => {
    expect(verdicts(QUESTIONS, [answer(1, "cannot_answer"), answer(3, "yes")]).get(2)).toBe("missing");
    expect(verdicts(QUESTIONS, [answer(1, "cannot_answer"), answer(3, "yes")]).get(3)).toBe("masked");
  });
});
