/** A made-up store, the same at every start: graphs of shapes, candidates, answers, pairs, jobs. For building pages only. */
import type { Candidate, EvaluationImage, GraphDetail, MetricPoint, Pair, Policy, Question } from "../src/api/types";
import { bestAndWorst } from "../src/ranking";
import { encodePng } from "./png";

export function randomFrom(seed: number): () => number {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const SHAPES = ["circle", "square", "triangle", "star", "cross", "heart"];
const COLOURS: Record<string, [number, number, number]> = {
  red: [226, 64, 58],
  green: [62, 160, 82],
  blue: [58, 108, 222],
  yellow: [240, 205, 50],
  orange: [240, 134, 44],
  purple: [140, 70, 190],
  cyan: [60, 190, 210],
  white: [245, 245, 245],
};
const RELATIONS = ["left of", "right of", "above", "below"];

export interface MockGraph extends GraphDetail {
  full: Candidate[];
}

const id = (kind: string, n: number) => `0199aaaa-${kind}-7000-8000-${String(n).padStart(12, "0")}`;

function makeGraph(n: number): MockGraph {
  const random = randomFrom(n + 1);
  const pick = <T,>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const big = n % 17 === 5;
  const count = big ? 12 + Math.floor(random() * 16) : 1 + Math.floor(random() * 4);
  const objects = Array.from({ length: count }, (_, position) => ({
    position,
    label: big ? pick(["man", "woman", "tree", "street", "car", "sidewalk", "shirt", "window", "building", "sign", "headlight", "clock"]) : pick(SHAPES),
    attributes: big ? (random() < 0.5 ? [pick(["tall", "grey", "parked", "red", "wooden"])] : []) : [pick(["small", "large"]), pick(Object.keys(COLOURS))],
  }));
  const relations = objects.slice(1).flatMap((object) =>
    big && random() < 0.25
      ? []
      : [{ subject: big ? Math.floor(random() * object.position) : object.position - 1, predicate: big ? pick(["on", "wears", "has", "next to", "behind"]) : pick(RELATIONS), object: object.position }],
  );
  const name = (i: number) => [...(objects[i]?.attributes ?? []), objects[i]?.label].join(" ");
  const caption = relations.length
    ? relations.slice(0, 3).map((r) => `a ${name(r.subject)} ${r.predicate} a ${name(r.object)}`).join(", ")
    : objects.map((o) => `a ${name(o.position)}`).join(" and ");
  const questions: Question[] = [];
  const entityOf: number[] = [];
  const add = (question: Omit<Question, "question_id">) => questions.push({ question_id: questions.length + 1, ...question });
  for (const object of objects) {
    entityOf.push(add({ kind: "entity", category: "entity - whole", text: `Is there a ${object.label}?`, parents: [], target: { kind: "entity", object: object.position } }));
  }
  for (const object of objects) {
    object.attributes.forEach((attribute, k) =>
      add({ kind: "attribute", category: "attribute - color", text: `Is the ${object.label} ${attribute}?`, parents: [entityOf[object.position] ?? 1], target: { kind: "attribute", object: object.position, attribute: k } }),
    );
  }
  relations.forEach((r, k) =>
    add({ kind: "relation", category: "relation - spatial", text: `Is the ${objects[r.subject]?.label} ${r.predicate} the ${objects[r.object]?.label}?`, parents: [entityOf[r.subject] ?? 1, entityOf[r.object] ?? 1], target: { kind: "relation", relation: k } }),
  );
  const full: Candidate[] = Array.from({ length: 4 }, (_, index) => {
    const answers = questions.map((q) => {
      const roll = random();
      return { question_id: q.question_id, answer: roll < 0.68 ? ("yes" as const) : roll < 0.96 ? ("no" as const) : ("cannot_answer" as const), probability: 0.6 + random() * 0.4, answerer: "shapes", answerer_version: "1" };
    });
    const yes = new Set(answers.filter((a) => a.answer === "yes").map((a) => a.question_id));
    const holds = (q: Question) => yes.has(q.question_id) && q.parents.every((p) => yes.has(p));
    const share = (kind?: string) => {
      const all = questions.filter((q) => !kind || q.kind === kind);
      return all.length ? all.filter(holds).length / all.length : null;
    };
    const attribute = share("attribute");
    const spatial = share("relation");
    return {
      id: id("cccc", n * 4 + index),
      index,
      image_url: `/api/v1/candidates/${id("cccc", n * 4 + index)}/image`,
      scores: { dpg: share(), attribute, spatial, three_in_one: attribute === null ? null : (attribute + (spatial ?? attribute)) / 2 },
      seed: String(BigInt(n * 4 + index) * 982451653n * 7919n),
      generation: { id: id("9999", 1), model_hash: "7f3c".repeat(16), num_inference_steps: 20, guidance_scale: 4, sampler: "ddim" },
      answers,
    };
  });
  return {
    id: id("aaaa", n),
    img_id: big ? `vg-${n}` : `shapes-${String(n).padStart(5, "0")}`,
    caption,
    split: n % 5 === 0 ? "held_out" : "train",
    num_objects: objects.length,
    num_relations: relations.length,
    objects,
    relations,
    candidates: full.map(({ id: candidate, index, image_url, scores }) => ({ id: candidate, index, image_url, scores })),
    document: { img_id: n, items: objects, relations },
    questions,
    lint: [],
    lint_codes: [],
    tags: [],
    is_current: true,
    revision: 1,
    full,
  };
}

export const GRAPHS: MockGraph[] = Array.from({ length: 400 }, (_, n) => makeGraph(n));

/** A picture that resembles its graph: one blob an object, noise that grows with `blur`. */
export function drawGraph(graph: MockGraph, seed: number): Buffer {
  const size = 64;
  const random = randomFrom(seed + 77);
  const rgb = new Uint8Array(size * size * 3);
  const shade = 30 + random() * 40;
  for (let i = 0; i < rgb.length; i += 1) rgb[i] = shade + random() * 10;
  graph.objects.slice(0, 6).forEach((object, k) => {
    const colour = COLOURS[object.attributes.find((a) => a in COLOURS) ?? "white"] ?? [200, 200, 200];
    const radius = object.attributes.includes("small") ? 7 : 11;
    const cx = 14 + (k % 3) * 18 + (random() - 0.5) * 14;
    const cy = 20 + Math.floor(k / 3) * 24 + (random() - 0.5) * 22;
    for (let y = 0; y < size; y += 1) {
      for (let x = 0; x < size; x += 1) {
        const dx = Math.abs(x - cx);
        const dy = Math.abs(y - cy);
        const inside =
          object.label === "square" ? Math.max(dx, dy) < radius : object.label === "cross" ? Math.min(dx, dy) < radius / 3 && Math.max(dx, dy) < radius : object.label === "triangle" ? y - cy < radius * 0.8 && y - cy > -radius && dx < (y - cy + radius) * 0.55 : dx * dx + dy * dy < radius * radius;
        if (inside) rgb.set(colour.map((c) => c + (random() - 0.5) * 12), (y * size + x) * 3);
      }
    }
  });
  return encodePng(size, size, rgb);
}

export function pairsOf(policy: Policy): Pair[] {
  const total = Object.values(policy.weights).reduce((sum, w) => sum + w, 0) || 1;
  const pairs: Pair[] = [];
  for (const graph of GRAPHS) {
    if (graph.split !== "train") continue;
    const score = (c: Candidate) => Object.entries(policy.weights).reduce((sum, [m, w]) => sum + w * (c.scores?.[m] ?? 0), 0) / total;
    const scored = graph.full.map((c) => ({ ...c, scores: { policy: score(c) } }));
    const { best, worst } = bestAndWorst(scored, "policy");
    const w = graph.full.find((c) => c.id === best);
    const l = graph.full.find((c) => c.id === worst);
    if (!w || !l || score(w) - score(l) < policy.margin) continue;
    pairs.push({
      position: pairs.length,
      graph_id: graph.id,
      caption: graph.caption,
      winner: { id: w.id, image_url: w.image_url, score: score(w) },
      loser: { id: l.id, image_url: l.image_url, score: score(l) },
      margin: score(w) - score(l),
      differing_questions: graph.questions.flatMap((q, k) => {
        const a = w.answers[k];
        const b = l.answers[k];
        return a && b && a.answer !== b.answer ? [{ question_id: q.question_id, text: q.text, winner: a.answer, loser: b.answer }] : [];
      }),
    });
  }
  return pairs;
}

export function metricsUpTo(step: number): MetricPoint[] {
  const random = randomFrom(5);
  return Array.from({ length: step }, (_, i) => {
    const t = i / 300;
    const wobble = () => (random() - 0.5) * 2;
    return {
      step: i + 1,
      loss: 0.693 - 0.16 * (1 - Math.exp(-2 * t)) + wobble() * 0.05,
      implicit_reward_margin: 0.55 * (1 - Math.exp(-2 * t)) + wobble() * 0.22,
      pair_accuracy: Math.min(1, Math.max(0, 0.5 + 0.27 * (1 - Math.exp(-3 * t)) + wobble() * 0.12)),
      grad_norm: 1.6 + wobble() * 0.5 - t * 0.4,
      drift: 0.0006 * t + Math.abs(wobble()) * 0.00002,
      seconds: 0.52 + wobble() * 0.03,
      learning_rate: 3e-5 * (1 - t),
    };
  });
}

export const EVALUATION_IMAGES: EvaluationImage[] = GRAPHS.filter((graph) => graph.split === "held_out" && graph.objects.length < 6).map((graph, k) => {
  const random = randomFrom(k + 900);
  const base = Math.round(random() * 6) / 6;
  const trained = Math.max(0, Math.min(1, base + Math.round((random() - 0.42) * 4) / 6));
  return {
    graph_id: graph.id,
    index: 0,
    caption: graph.caption,
    base: { image_url: `/api/v1/mock/${graph.id}/base.png`, score: base },
    trained: { image_url: `/api/v1/mock/${graph.id}/trained.png`, score: trained },
  };
});
