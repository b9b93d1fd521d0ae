/** The API's nouns as the pages read them. */

export type Split = "train" | "held_out";
export type MetricName = "dpg" | "attribute" | "spatial" | "three_in_one";
/** Metric name → score in [0, 1]; a metric that does not apply to a graph is absent or null. */
export type Scores = Partial<Record<MetricName, number | null>> & Record<string, number | null | undefined>;

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
  total?: number | null;
}

export interface SceneObject {
  position: number;
  label: string;
  attributes: string[];
}

export interface SceneRelation {
  /** Positions in `objects`. */
  subject: number;
  predicate: string;
  object: number;
}

export interface CandidateSummary {
  id: string;
  index: number;
  image_url: string;
  scores: Scores | null;
}

export interface GraphSummary {
  id: string;
  img_id: string;
  caption: string;
  split: Split;
  num_objects: number;
  num_relations: number;
  objects: SceneObject[];
  relations: SceneRelation[];
  candidates: CandidateSummary[];
  best?: string | number | null;
  worst?: string | number | null;
}

export type Facets = Record<string, Record<string, number>>;

export interface GraphPage extends Page<GraphSummary> {
  facets?: Facets;
}

export type QuestionKind = "entity" | "attribute" | "relation";

export interface Question {
  question_id: number;
  kind: QuestionKind;
  category: string;
  text: string;
  parents: number[];
  target: unknown;
}

export interface Finding {
  code: string;
  severity: "error" | "warning";
  pointer?: string;
  message: string;
  suggestion?: string | null;
  file?: string | null;
  record?: number | null;
}

export interface GraphDetail extends GraphSummary {
  document: unknown;
  questions: Question[];
  lint: Finding[];
}

export type AnswerValue = "yes" | "no" | "cannot_answer";

export interface Answer {
  question_id: number;
  answer: AnswerValue;
  probability: number | null;
  answerer?: string | null;
  answerer_version?: string | null;
}

export interface GenerationFacts {
  id: string;
  model_hash: string;
  num_inference_steps: number;
  guidance_scale: number;
  sampler: string;
}

export interface Candidate extends CandidateSummary {
  seed: number | string;
  generation: GenerationFacts;
  answers: Answer[];
}

export interface Progress {
  done: number;
  total: number;
  unit?: string;
}

export interface PairSide {
  id: string;
  image_url: string;
  score: number;
}

export interface DifferingQuestion {
  question_id: number;
  text: string;
  winner: AnswerValue;
  loser: AnswerValue;
}

export interface Pair {
  position: number;
  graph_id: string;
  caption?: string | null;
  winner: PairSide;
  loser: PairSide;
  margin: number;
  differing_questions: DifferingQuestion[];
}

export type SelectRule = "best_worst" | "all_above_margin" | "best_rest" | "random";

export interface Policy {
  weights: Record<string, number>;
  margin: number;
  select: SelectRule | Record<string, unknown>;
  tie?: unknown;
}

export interface HistogramBin {
  from: number;
  to: number;
  count: number;
}

export interface PairingPreview {
  num_pairs: number;
  num_graphs: number;
  mean_margin: number | null;
  histogram: HistogramBin[];
  pairs: Pair[];
}

export interface Pairing {
  id: string;
  name: string;
  hash: string;
  num_pairs: number;
  policy: Policy;
  created_at: string;
}

export type JobState =
  | "validating"
  | "queued"
  | "preparing"
  | "running"
  | "pausing"
  | "paused"
  | "succeeded"
  | "failed"
  | "cancelling"
  | "cancelled";

export interface JobSpec {
  pairing_id?: string;
  objective?: { name: string; path?: string; [key: string]: unknown };
  [key: string]: unknown;
}

export interface Job {
  id: string;
  state: JobState;
  stage?: string | null;
  progress: Progress;
  spec: JobSpec;
  error?: { title?: string; detail?: string; message?: string } | string | null;
  created_at: string;
  started_at?: string | null;
  finished_at?: string | null;
}

export interface MetricPoint {
  step: number;
  loss?: number;
  implicit_reward_margin?: number;
  pair_accuracy?: number;
  grad_norm?: number;
  drift?: number;
  seconds?: number;
  learning_rate?: number;
  [key: string]: number | undefined;
}

export interface JobEvent {
  sequence: number;
  at: string;
  kind: string;
  data: unknown;
}

export interface JobSample {
  step: number;
  graph_id: string;
  index: number;
  image_url: string;
  caption?: string | null;
}

export interface Checkpoint {
  step: number;
  bytes: number;
  files: { name: string; bytes: number; blob: string }[];
}

export interface Artifact {
  name: string;
  kind?: string;
  bytes?: number;
  sha256?: string;
  url?: string | null;
}

export interface Comparison {
  base_score: number;
  trained_score: number;
  delta: number;
  delta_se: number;
  delta_ci95: [number, number];
  win_rate?: number | null;
}

export interface EvaluationResult extends Comparison {
  evaluated_graphs: number;
  evaluated_images: number;
  by_kind: Partial<Record<QuestionKind, Comparison>>;
}

export interface Evaluation {
  id: string;
  job_id: string | null;
  name?: string;
  /** `progress` looks at a few graphs while the job trains, to choose its best checkpoint; `final` is the result. */
  kind?: "final" | "progress";
  step?: number | null;
  state: string;
  progress?: Progress;
  result: EvaluationResult | null;
}

export interface EvaluationImage {
  graph_id: string;
  index: number;
  caption?: string | null;
  base: { image_url: string; score: number };
  trained: { image_url: string; score: number };
}

export interface DemoStage {
  name: string;
  state: string;
  done: number;
  total: number;
  unit?: string;
  seconds?: number | null;
}

export interface Demo {
  running: boolean;
  stage: string | null;
  stages: DemoStage[];
  summary: Record<string, unknown> | null;
}

export interface ImportSummary {
  id: string;
  file?: string;
  read: number;
  accepted: number;
  unchanged: number;
  rejected: number;
  warnings: number;
  seconds: number;
  created_at?: string;
}

export interface Reject extends Finding {
  raw?: string | null;
}

export interface Health {
  status?: string;
  version?: string;
  [key: string]: unknown;
}
