/** Questions in the order of their dependencies, what each is about, and what an answer counts for. */
import type { Answer, Question, SceneObject, SceneRelation } from "./api/types";

export interface QuestionRow {
  question: Question;
  depth: number;
}

/**
 * Each question once, below its last parent in reading order (a relation hangs below its second object, as both must
 * hold before it is asked).
 */
export function questionRows(questions: Question[]): QuestionRow[] {
  const byId = new Map(questions.map((question) => [question.question_id, question]));
  const order = new Map(questions.map((question, position) => [question.question_id, position]));
  const children = new Map<number, Question[]>();
  const roots: Question[] = [];
  for (const question of questions) {
    const known = question.parents.filter((parent) => byId.has(parent) && parent !== question.question_id);
    const hook = known.reduce<number | null>(
      (last, parent) => (last === null || (order.get(parent) ?? 0) > (order.get(last) ?? 0) ? parent : last),
      null,
    );
    if (hook === null) roots.push(question);
    else children.set(hook, [...(children.get(hook) ?? []), question]);
  }
  const rows: QuestionRow[] = [];
  const seen = new Set<number>();
  const visit = (question: Question, depth: number) => {
    if (seen.has(question.question_id)) return;
    seen.add(question.question_id);
    rows.push({ question, depth });
    for (const child of children.get(question.question_id) ?? []) visit(child, depth + 1);
  };
  for (const root of roots) visit(root, 0);
  for (const question of questions) visit(question, 0);
  return rows;
}

export type Target =
  | { kind: "entity"; object: number }
  | { kind: "attribute"; object: number; attribute: number }
  | { kind: "relation"; relation: number };

/** A target as serde writes it: tagged inside (`{"kind":"entity","object":0}`) or outside (`{"entity":{"object":0}}`). */
export function readTarget(target: unknown): Target | null {
  if (!target || typeof target !== "object") return null;
  const flat = target as Record<string, unknown>;
  for (const kind of ["entity", "attribute", "relation"] as const) {
    const nested = flat[kind] ?? flat[kind[0]?.toUpperCase() + kind.slice(1)];
    if (nested && typeof nested === "object") return readTarget({ ...(nested as object), kind });
  }
  const tag = String(flat.kind ?? flat.type ?? "").toLowerCase();
  const number = (key: string) => (typeof flat[key] === "number" ? (flat[key] as number) : null);
  const object = number("object");
  const attribute = number("attribute");
  const relation = number("relation");
  if (relation !== null && (tag === "relation" || object === null)) return { kind: "relation", relation };
  if (object === null) return null;
  return attribute === null ? { kind: "entity", object } : { kind: "attribute", object, attribute };
}

/** What lights up together: objects, relations and questions. */
export interface Lit {
  objects: Set<number>;
  relations: Set<number>;
  questions: Set<number>;
}

/** `label`: a box in a picture, which says no more than what kind of thing it is around. */
export type Focus = { object: number } | { relation: number } | { question: number } | { label: string };

/** Objects that a detector's word names. */
export const objectsOf = (label: string, objects: Pick<SceneObject, "label" | "position">[]): number[] =>
  objects.filter((object) => object.label.trim().toLowerCase() === label.trim().toLowerCase()).map(({ position }) => position);


export function litBy(focus: Focus, questions: Question[], relations: SceneRelation[], objects: SceneObject[]): Lit {
  const lit: Lit = { objects: new Set(), relations: new Set(), questions: new Set() };
  if ("question" in focus) {
    const question = questions.find((q) => q.question_id === focus.question);
    const target = readTarget(question?.target);
    lit.questions.add(focus.question);
    if (target?.kind === "relation") {
      lit.relations.add(target.relation);
      const relation = relations[target.relation];
      if (relation) lit.objects.add(relation.subject).add(relation.object);
    } else if (target) lit.objects.add(target.object);
    return lit;
  }
  const own = "object" in focus ? [focus.object] : "label" in focus ? objectsOf(focus.label, objects) : [];
  if ("relation" in focus) {
    lit.relations.add(focus.relation);
    const relation = relations[focus.relation];
    if (relation) lit.objects.add(relation.subject).add(relation.object);
  } else {
    for (const object of own) lit.objects.add(object);
    relations.forEach((relation, index) => {
      if (own.includes(relation.subject) || own.includes(relation.object)) lit.relations.add(index);
    });
  }
  for (const question of questions) {
    const target = readTarget(question.target);
    if (!target) continue;
    const belongs = target.kind === "relation" ? lit.relations.has(target.relation) : own.includes(target.object);
    if (belongs) lit.questions.add(question.question_id);
  }
  return lit;
}

/** `masked`: answered yes, yet a question that it depends on was not, so it does not count. */
export type Verdict = "yes" | "no" | "cannot_answer" | "masked" | "missing";

export function verdicts(questions: Question[], answers: Answer[]): Map<number, Verdict> {
  const raw = new Map(answers.map((answer) => [answer.question_id, answer.answer]));
  const byId = new Map(questions.map((question) => [question.question_id, question]));
  const memo = new Map<number, boolean>();
  const holds = (id: number): boolean => {
    const known = memo.get(id);
    if (known !== undefined) return known;
    memo.set(id, false);
    const question = byId.get(id);
    const result = question !== undefined && raw.get(id) === "yes" && question.parents.filter((p) => byId.has(p)).every(holds);
    memo.set(id, result);
    return result;
  };
  return new Map(
    questions.map(({ question_id: id }): [number, Verdict] => {
      const answer = raw.get(id);
      if (answer === undefined) return [id, "missing"];
      if (answer === "yes" && !holds(id)) return [id, "masked"];
      return [id, answer];
    }),
  );
}
