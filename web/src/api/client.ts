/** Every request that a page makes: one function a resource. */
import { signal } from "@preact/signals";
import type { SchemaProperty } from "../job-form";
import type { paths } from "./schema";
import type {
  Artifact,
  Candidate,
  Checkpoint,
  Demo,
  Evaluation,
  EvaluationImage,
  Generation,
  GraphDetail,
  GraphPage,
  Health,
  Inversion,
  Job,
  JobEstimate,
  JobEvent,
  JobSample,
  MetricPoint,
  Page,
  Pair,
  Pairing,
  PairingComparison,
  PairingPreview,
  Policy,
  Scorer,
  ScoreRun,
  Vote,
  VoteAgreement,
  VoteChoice,
  VoteQueue,
} from "./types";

export const ROOT = "/api/v1";

/** An RFC 9457 problem, or what came instead of one. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string | null,
    readonly errors: { pointer?: string; detail?: string }[] = [],
  ) {
    super(detail ? `${title}: ${detail}` : title);
  }
}

type Query = Record<string, string | number | boolean | null | undefined>;

export function withQuery(path: string, query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") search.set(key, String(value));
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

/** Whether the service wants to know who one is: an answer was 401. */
export const signInWanted = signal(false);

export async function request<T>(method: string, path: string, init: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(ROOT + path, { method, ...init, headers: { accept: "application/json", ...init.headers } });
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new ApiError(0, "The server does not answer", "Is diptych still running? The page tries again by itself.");
  }
  const text = await response.text();
  const body: unknown = text ? parseJson(text) : null;
  if (!response.ok) throw problemOf(response.status, body);
  return body as T;
}

/** What a refusal says. */
export function problemOf(status: number, body: unknown): ApiError {
  if (status === 401) signInWanted.value = true;
  const problem = (body ?? {}) as { title?: string; detail?: string; errors?: { pointer?: string; detail?: string }[] };
  return new ApiError(status, problem.title ?? `Status ${status}`, problem.detail ?? null, problem.errors);
}

/** Seeds are 64-bit: as numbers they would lose their last digits, so those that would are read as text. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text.replace(/("seed"\s*:\s*)(-?\d{16,})/g, '$1"$2"'));
  } catch {
    return null;
  }
}

/** The addresses of the OpenAPI document, without their common beginning. */
type ApiPath = keyof paths extends infer P ? (P extends `/api/v1${infer Rest}` ? Rest : never) : never;

/** Fills `{id}` and the like; an address that the API does not have does not compile. */
export function address(path: ApiPath, fields: Record<string, string> = {}): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(fields[name] ?? ""));
}

export const get = <T>(path: string, query?: Query, signal?: AbortSignal) => request<T>("GET", withQuery(path, query), { signal });
export const post = <T>(path: string, body: unknown, init: RequestInit = {}) =>
  request<T>("POST", path, {
    ...init,
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...init.headers },
  });

export const health = (signal?: AbortSignal) => get<Health>(address("/health"), {}, signal);

/** Null where the server was not started by `diptych demo`. */
export async function demo(signal?: AbortSignal): Promise<Demo | null> {
  try {
    return await get<Demo>(address("/demo"), {}, signal);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

export type DemoSize = "small" | "normal" | "full";
export const startDemo = (size: DemoSize) => post<Demo>(address("/demo"), { size });

export interface GraphQuery {
  split?: string;
  label?: string;
  attribute?: string;
  relation?: string;
  sort?: string;
  has_candidates?: boolean;
  text?: string;
  /** A part of the graph in words: "a red thing left of a blue thing". */
  phrase?: string;
  /** The same written out: `(circle{red})-[left of]->(*{blue})`. */
  pattern?: string;
  tag?: string;
  collection_id?: string;
  lint?: string;
  metric?: string;
  /** The score of the questions of one kind alone. */
  kind?: string;
  min_score?: string;
  max_score?: string;
  /** False spares the server the counting. */
  facets?: boolean;
  limit?: number;
  cursor?: string | null;
}

export const listGraphs = (query: GraphQuery, signal?: AbortSignal) => get<GraphPage>(address("/graphs"), { ...query }, signal);
export const getGraph = (id: string, signal?: AbortSignal) => get<GraphDetail>(address("/graphs/{id}", { id }), {}, signal);
export const listCandidates = (graph: string, signal?: AbortSignal) =>
  get<Page<Candidate>>(address("/graphs/{id}/candidates", { id: graph }), {}, signal);

export interface GenerationRequest {
  graph_ids: string[];
  seed?: number;
  num_candidates: number;
  num_inference_steps?: number;
  guidance_scale?: number;
  model?: string;
}

export const createGeneration = (request: GenerationRequest) => post<Generation>(address("/generations"), request);
export const getGeneration = (id: string, signal?: AbortSignal) => get<Generation>(address("/generations/{id}", { id }), {}, signal);
export const createScoreRun = (generation: string, answerer: string) => post<ScoreRun>(address("/score-runs"), { generation_id: generation, answerer });
export const getScoreRun = (id: string, signal?: AbortSignal) => get<ScoreRun>(address("/score-runs/{id}", { id }), {}, signal);
export const listScorers = (signal?: AbortSignal) => get<Page<Scorer>>(address("/scorers"), {}, signal);

export interface InversionRequest {
  candidate_id: string;
  num_inference_steps: number;
  guidance_scale: number;
}

export const createInversion = (request: InversionRequest) => post<Inversion>(address("/inversions"), request);
export const getInversion = (id: string, signal?: AbortSignal) => get<Inversion>(address("/inversions/{id}", { id }), {}, signal);
export const listInversions = (candidate: string, signal?: AbortSignal) =>
  get<Page<Inversion>>(address("/inversions"), { candidate_id: candidate, limit: 200 }, signal);

export const previewPairing = (policy: Policy, signal?: AbortSignal) =>
  post<PairingPreview>(address("/pairings/preview"), { policy }, { signal });
export const freezePairing = (name: string, policy: Policy) => post<Pairing>(address("/pairings"), { name, policy });
export const listPairings = (signal?: AbortSignal) => get<Page<Pairing>>(address("/pairings"), { limit: 100 }, signal);
export const getPairing = (id: string, signal?: AbortSignal) => get<Pairing>(address("/pairings/{id}", { id }), {}, signal);
export const listPairs = (id: string, cursor?: string | null, signal?: AbortSignal) =>
  get<Page<Pair>>(address("/pairings/{id}/pairs", { id }), { limit: 60, cursor }, signal);

/** The pair at a position, and how many there are. */
export async function pairAt(id: string, position: number, signal?: AbortSignal): Promise<{ pair: Pair | undefined; total: number }> {
  const page = await get<Page<Pair>>(address("/pairings/{id}/pairs", { id }), { from: position, limit: 1 }, signal);
  return { pair: page.items[0], total: page.total ?? 0 };
}

export const comparePairings = (id: string, other: string, signal?: AbortSignal) =>
  get<PairingComparison>(address("/pairings/{id}/comparison", { id }), { with: other }, signal);

export const voteQueue = (voter: string, limit: number, signal?: AbortSignal) =>
  get<VoteQueue>(address("/votes/queue"), { voter, limit: Math.min(limit, 200) }, signal);
export const voteAgreement = (voter: string, signal?: AbortSignal) => get<VoteAgreement>(address("/votes/agreement"), { voter }, signal);
export const castVote = (vote: { left_id: string; right_id: string; choice: VoteChoice; voter: string }) => post<Vote>(address("/votes"), vote);
export const deleteVote = (id: string) => request<null>("DELETE", address("/votes/{id}", { id }));

export const listJobs = (signal?: AbortSignal) => get<Page<Job>>(address("/jobs"), { limit: 100 }, signal);
export const getJob = (id: string, signal?: AbortSignal) => get<Job>(address("/jobs/{id}", { id }), {}, signal);
/** The fields of a job's request, as the API's document describes them. */
export async function jobSchema(signal?: AbortSignal): Promise<Record<string, SchemaProperty>> {
  const document = await get<{ components: { schemas: { CreateJobRequest: { properties: Record<string, SchemaProperty> } } } }>("/openapi.json", {}, signal);
  return document.components.schemas.CreateJobRequest.properties;
}
export const estimateJob = (spec: unknown, signal?: AbortSignal) =>
  post<JobEstimate>(withQuery(address("/jobs"), { dry_run: true }), spec, { signal });
export const createJob = (spec: unknown, idempotencyKey: string) =>
  post<Job>(address("/jobs"), spec, { headers: { "idempotency-key": idempotencyKey } });
export type JobAction = "pause" | "resume" | "cancel" | "save" | "sample";
export const actOnJob = (id: string, action: JobAction) => post<Job | null>(address(`/jobs/{id}/${action}`, { id }), {});
export const listJobEvents = (id: string, signal?: AbortSignal) => get<Page<JobEvent>>(address("/jobs/{id}/events", { id }), {}, signal);
export const listMetrics = (id: string, sinceStep: number, signal?: AbortSignal) =>
  get<Page<MetricPoint>>(address("/jobs/{id}/metrics", { id }), { since_step: sinceStep }, signal);
export const listSamples = (id: string, signal?: AbortSignal) => get<Page<JobSample>>(address("/jobs/{id}/samples", { id }), {}, signal);
export const listCheckpoints = (id: string, signal?: AbortSignal) =>
  get<Page<Checkpoint>>(address("/jobs/{id}/checkpoints", { id }), {}, signal);
export const listArtifacts = (id: string, signal?: AbortSignal) => get<Page<Artifact>>(address("/jobs/{id}/artifacts", { id }), {}, signal);

export const listEvaluations = (job?: string, signal?: AbortSignal) =>
  get<Page<Evaluation>>(address("/evaluations"), { job_id: job }, signal);
export const listEvaluationImages = (id: string, cursor?: string | null, signal?: AbortSignal) =>
  get<Page<EvaluationImage>>(address("/evaluations/{id}/images", { id }), { limit: 200, cursor }, signal);
