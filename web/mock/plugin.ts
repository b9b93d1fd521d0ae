/** Answers the API from mock/world.ts inside the development server: `npm run dev:mock`. Never part of a build. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Plugin } from "vite";
import type { Job, Pairing, Policy } from "../src/api/types";
import { drawGraph, EVALUATION_IMAGES, GRAPHS, metricsUpTo, pairsOf, type MockGraph } from "./world";

const JOB = "0199aaaa-bbbb-7000-8000-000000000001";
const JOB_2 = "0199aaaa-bbbb-7000-8000-000000000002";
const PAIRING = "0199aaaa-dddd-7000-8000-000000000001";
const POLICY: Policy = { weights: { dpg: 1 }, margin: 0.1, select: "best_worst" };

/** MOCK_STATE=running shows the demo under way, `empty` a store without anything; otherwise it is finished. */
const STATE = process.env.MOCK_STATE ?? "finished";
const started = Date.now();

const pairing = (): Pairing => ({ id: PAIRING, name: "demo best-worst", hash: "5be1".repeat(16), num_pairs: pairsOf(POLICY).length, num_graphs: pairsOf(POLICY).length, mean_margin: 0.4, policy: POLICY, created_at: new Date(started - 400_000).toISOString() });

const stepsDone = () => (STATE === "running" ? Math.min(300, 40 + Math.floor((Date.now() - started) / 500)) : 300);

const job = (id: string): Job => ({
  id,
  state: STATE === "running" ? "running" : "succeeded",
  stage: STATE === "running" ? "train" : "done",
  progress: { done: stepsDone(), total: 300, unit: "steps" },
  spec: { pairing_id: PAIRING, objective: { name: id === JOB ? "inversion-dpo" : "diffusion-dpo", path: "recorded", beta: 2000 }, trainable: "unet", learning_rate: 3e-5, max_steps: 300, batch_size: 16, seed: 0 },
  error: null,
  attempt: 1,
  created_at: new Date(started - 300_000).toISOString(),
  started_at: new Date(started - 295_000).toISOString(),
  finished_at: STATE === "running" ? null : new Date(started - 60_000).toISOString(),
});

const comparison = (base: number, delta: number, se: number) => ({ base_score: base, trained_score: base + delta, delta, delta_se: se, delta_ci95: [delta - 1.96 * se, delta + 1.96 * se] as [number, number], win_rate: 0.57 });

const evaluation = (id: string, jobId: string, delta: number) => ({
  id,
  job_id: jobId,
  state: STATE === "running" ? "running" : "succeeded",
  progress: { done: 120, total: 480, unit: "images" },
  result: STATE === "running" ? null : { ...comparison(0.702, delta, 0.008), evaluated_graphs: 240, evaluated_images: 960, by_kind: { entity: comparison(0.884, 0.031, 0.009), attribute: comparison(0.713, 0.049, 0.011), relation: comparison(0.421, 0.028, 0.016) } },
});

function facets(graphs: MockGraph[]) {
  const count = (of: (graph: MockGraph) => string[]) => {
    const result: Record<string, number> = {};
    for (const graph of graphs) for (const key of new Set(of(graph))) result[key] = (result[key] ?? 0) + 1;
    return result;
  };
  return { split: count((g) => [g.split]), label: count((g) => g.objects.map((o) => o.label)), attribute: count((g) => g.objects.flatMap((o) => o.attributes)), relation: count((g) => g.relations.map((r) => r.predicate)) };
}

const summaryOf = ({ full: _full, document: _document, questions: _questions, lint: _lint, ...summary }: MockGraph) => summary;

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  try {
    return JSON.parse(Buffer.concat(parts).toString());
  } catch {
    return null;
  }
}

async function answer(request: IncomingMessage, url: URL): Promise<{ status?: number; body: unknown } | Buffer | "events"> {
  const path = url.pathname.replace("/api/v1", "");
  const query = url.searchParams;
  const parts = path.split("/").filter(Boolean);
  const page = (items: unknown[]) => ({ body: { items, next_cursor: null } });
  const empty = STATE === "empty";
  if (path === "/health") return { body: { status: "ok", version: "0.1.0" } };
  if (path === "/demo") {
    if (empty) return { status: 404, body: { title: "Not a demo" } };
    const running = STATE === "running";
    const stage = (name: string, done: number, total: number, unit: string, seconds: number, state = "succeeded") => ({ name, state, done, total, unit, seconds });
    return {
      body: {
        running,
        stage: running ? "train" : null,
        stages: [
          stage("graphs", 400, 400, "graphs", 0.4),
          stage("generate", 1280, 1280, "candidates", 118),
          stage("score", 1280, 1280, "candidates", 6.2),
          stage("pair", pairing().num_pairs, pairing().num_pairs, "pairs", 0.2),
          stage("train:inversion-dpo", running ? stepsDone() : 300, 300, "steps", running ? 24 : 161, running ? "running" : "succeeded"),
          stage("evaluate:inversion-dpo", running ? 0 : 480, running ? 0 : 480, "images", running ? 0 : 92, running ? "waiting" : "succeeded"),
          stage("train:diffusion-dpo", running ? 0 : 300, 300, "steps", running ? 0 : 150, running ? "waiting" : "succeeded"),
          stage("evaluate:diffusion-dpo", running ? 0 : 480, running ? 0 : 480, "images", running ? 0 : 91, running ? "waiting" : "succeeded"),
        ],
        summary: running ? null : { graphs: 400, candidates: 1280, mean_score: 0.702, best_of_four_score: 0.853, pairs: pairing().num_pairs, training_steps: 300, objective: "inversion-dpo" },
      },
    };
  }
  if (parts[0] === "graphs" && parts.length === 1) {
    let graphs = empty ? [] : GRAPHS;
    const split = query.get("split");
    if (split) graphs = graphs.filter((g) => g.split === split);
    for (const [name, of] of [["label", (g: MockGraph) => g.objects.map((o) => o.label)], ["attribute", (g: MockGraph) => g.objects.flatMap((o) => o.attributes)], ["relation", (g: MockGraph) => g.relations.map((r) => r.predicate)]] as const) {
      const value = query.get(name);
      if (value) graphs = graphs.filter((g) => of(g).includes(value));
    }
    const from = Number(query.get("cursor") ?? 0);
    const limit = Number(query.get("limit") ?? 24);
    return { body: { items: graphs.slice(from, from + limit).map(summaryOf), next_cursor: from + limit < graphs.length ? String(from + limit) : null, total: graphs.length, facets: facets(graphs) } };
  }
  if (parts[0] === "graphs") {
    const graph = GRAPHS.find((g) => g.id === parts[1]);
    if (!graph) return { status: 404, body: { title: "No such graph" } };
    if (parts[2] === "candidates") return page(graph.full);
    const { full: _full, ...detail } = graph;
    return { body: detail };
  }
  if (parts[0] === "candidates" && parts[2] === "image") {
    const n = Number(parts[1]?.slice(-12));
    return drawGraph(GRAPHS[Math.floor(n / 4)] as MockGraph, n);
  }
  if (parts[0] === "mock") {
    const graph = GRAPHS.find((g) => g.id === parts[1]) as MockGraph;
    return drawGraph(graph, Number(graph.id.slice(-12)) + (parts[2]?.length ?? 0));
  }
  if (path === "/pairings/preview") {
    const { policy } = (await bodyOf(request)) as { policy: Policy };
    const pairs = empty ? [] : pairsOf(policy);
    const histogram = Array.from({ length: 20 }, (_, k) => ({ from: k / 20, to: (k + 1) / 20, count: pairs.filter((p) => p.margin >= k / 20 && p.margin < (k + 1) / 20).length }));
    return { body: { num_pairs: pairs.length, num_graphs: pairs.length, mean_margin: pairs.reduce((s, p) => s + p.margin, 0) / Math.max(1, pairs.length), histogram, pairs: pairs.slice(0, 20) } };
  }
  if (parts[0] === "pairings") {
    if (parts.length === 1) return request.method === "POST" ? { status: 201, body: pairing() } : page(empty ? [] : [pairing()]);
    return parts[2] === "pairs" ? page(pairsOf(POLICY).slice(0, 60)) : { body: pairing() };
  }
  if (parts[0] === "jobs") {
    if (parts.length === 1) return request.method === "POST" ? { status: 202, body: job(JOB) } : page(empty ? [] : [job(JOB), job(JOB_2)]);
    if (parts[2] === "metrics") {
      const since = Number(query.get("since_step") ?? 0);
      return page(metricsUpTo(stepsDone()).filter((p) => p.step >= since));
    }
    if (parts[2] === "events") return "events";
    if (parts[2] === "samples") return page([0, 100, 200, 300].flatMap((step) => EVALUATION_IMAGES.slice(0, 8).map((image) => ({ step, graph_id: image.graph_id, index: 0, caption: image.caption, image_url: `/api/v1/mock/${image.graph_id}/${"x".repeat(step / 100 + 1)}.png` }))));
    if (parts[2] === "checkpoints") return page([100, 200, 300].map((step) => ({ step, bytes: 31_400_000, files: [{ name: "state.safetensors", bytes: 31_400_000, blob: "ab12".repeat(16) }] })));
    if (parts[2] === "artifacts") return page([{ name: "unet.safetensors", bytes: 8_400_000, sha256: "cd34".repeat(16), url: "#" }]);
    if (request.method === "POST") return { status: 202, body: job(parts[1] ?? JOB) };
    return { body: job(parts[1] ?? JOB) };
  }
  if (parts[0] === "evaluations") {
    if (parts[2] === "images") return page(EVALUATION_IMAGES);
    const all = empty ? [] : [evaluation("e1", JOB, 0.039), evaluation("e2", JOB_2, 0.034)];
    const of = query.get("job_id");
    return page(all.filter((e) => !of || e.job_id === of));
  }
  if (parts[0] === "imports") {
    const summary = { id: "0199aaaa-eeee-7000-8000-000000000001", file: "shapes.json", read: 404, accepted: 400, unchanged: 0, rejected: 3, warnings: 1, seconds: 0.4, created_at: new Date(started).toISOString() };
    if (parts[2] === "rejects") return page([{ record: 12, pointer: "/scene_graph/relations/0/object", code: "dangling_id", severity: "error", message: "object 9 does not exist", suggestion: "add the item or remove the relation" }]);
    return request.method === "POST" ? { status: 201, body: summary } : page(empty ? [] : [summary]);
  }
  return { status: 404, body: { title: "Not in the mock" } };
}

export function mockApi(): Plugin {
  return {
    name: "diptych-mock-api",
    configureServer(server) {
      server.middlewares.use((request: IncomingMessage, response: ServerResponse, next: () => void) => {
        if (!request.url?.startsWith("/api/")) return next();
        void answer(request, new URL(request.url, "http://mock")).then((result) => {
          if (result === "events") {
            response.setHeader("content-type", "text/event-stream");
            const send = (sequence: number, kind: string, data: unknown) => response.write(`id: ${sequence}\nevent: ${kind}\ndata: ${JSON.stringify({ sequence, at: new Date(started + sequence * 4000).toISOString(), kind, data })}\n\n`);
            send(1, "state", { state: "validating" });
            send(2, "state", { state: "queued" });
            send(3, "state", { state: "preparing" });
            send(4, "log", { message: "313 paths replayed from their seeds, no inversion error" });
            send(5, "state", { state: "running" });
            send(6, "checkpoint", { step: 100, bytes: 31400000 });
          } else if (Buffer.isBuffer(result)) {
            response.setHeader("content-type", "image/png");
            response.end(result);
          } else {
            response.statusCode = result.status ?? 200;
            response.setHeader("content-type", response.statusCode < 400 ? "application/json" : "application/problem+json");
            response.end(JSON.stringify(result.body));
          }
        });
      });
    },
  };
}
