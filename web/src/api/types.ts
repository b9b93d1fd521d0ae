/**
 * The API's nouns as the pages read them: the types made from the OpenAPI document, with the fields that it leaves open
 * (free JSON, names as plain strings) said more precisely.
 */
import type { components } from "./schema";

type Schemas = components["schemas"];

/** `Base` with some of its own fields narrowed: a field that the API no longer has does not compile. */
type Narrow<Base, Fields extends { [Name in keyof Fields]: Name extends keyof Base ? unknown : never }> = Omit<Base, keyof Fields> & Fields;

export type Split = "train" | "held_out";
export type MetricName = "dpg" | "attribute" | "spatial" | "three_in_one";
/** Metric name → score in [0, 1]; a metric that does not apply to a graph is absent or null. */
export type Scores = Record<string, number | null | undefined>;

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
  total?: number | null;
}

export type SceneObject = Schemas["SceneObject"];
export type SceneRelation = Schemas["SceneRelation"];
export type CandidateSummary = Narrow<Schemas["CandidateSummary"], { scores?: Scores | null }>;
export type GraphSummary = Narrow<Schemas["GraphSummary"], { candidates: CandidateSummary[]; split: Split }>;
export type Facets = Record<string, Record<string, number>>;
export type GraphPage = Narrow<Schemas["GraphList"], { items: GraphSummary[]; facets: Facets }>;

export type QuestionKind = "entity" | "attribute" | "relation";
export type Question = Narrow<Omit<Schemas["Question"], "tuple">, { kind: QuestionKind; target: unknown }>;
export type Finding = Omit<Schemas["Reject"], "raw" | "file"> & { file?: string | null };
export type GraphDetail = GraphSummary & {
  document: unknown;
  questions: Question[];
  lint: Finding[];
  source_file?: string;
  record?: number;
};

export type AnswerValue = "yes" | "no" | "cannot_answer";
export type Answer = Narrow<Schemas["Answer"], { answer: AnswerValue }>;
export type Detection = Schemas["Detection"];
export type GenerationFacts = Schemas["GenerationFacts"];
export type Candidate = Narrow<
  Omit<Schemas["Candidate"], "created_at" | "graph_id">,
  /** Seeds past 2^53 are read as text: `client.ts`. */
  { answers: Answer[]; scores?: Scores | null; seed: number | string }
>;

export type Inversion = Schemas["Inversion"];
export type InversionPaths = Schemas["InversionPaths"];

export type Generation = Schemas["Generation"];
export type ScoreRun = Schemas["ScoreRun"];
export type Scorer = Schemas["Scorer"];

export type Progress = Schemas["Progress"];
export type PairSide = Schemas["PairSide"];
export type DifferingQuestion = Narrow<Schemas["DifferingQuestion"], { winner: AnswerValue; loser: AnswerValue }>;
export type Pair = Narrow<Schemas["Pair"], { differing_questions: DifferingQuestion[] }>;

export type SelectRule = "best_worst" | "all_above_margin" | "best_rest" | "random";

export interface Policy {
  weights: Record<string, number>;
  margin: number;
  select: SelectRule | Record<string, unknown>;
  tie?: "first" | "skip";
}

export type VoteChoice = "left" | "right" | "both_good" | "both_bad" | "skip";
export type Vote = Narrow<Schemas["Vote"], { choice: VoteChoice }>;
export type Contest = Schemas["Contest"];
export type VoteQueue = Schemas["VoteQueue"];
export type VoteAgreement = Schemas["VoteAgreement"];

export type PairPart = Narrow<Schemas["PairPart"], { examples: Pair[] }>;
export type PairingComparison = Narrow<
  Schemas["PairingComparison"],
  { flipped: PairPart; only_here: PairPart; only_there: PairPart }
>;

export type HistogramBin = Schemas["HistogramBin"];
export type PairingPreview = Narrow<Schemas["PairingPreview"], { pairs: Pair[] }>;
export type Pairing = Narrow<Schemas["Pairing"], { policy: Policy }>;

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

export type Job = Narrow<
  Schemas["Job"],
  { state: JobState; spec: JobSpec; error?: { title?: string; detail?: string; message?: string } | string | null }
>;

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

export type JobEvent = Narrow<Schemas["JobEvent"], { data: unknown }>;
export type JobSample = Omit<Schemas["JobSample"], "seed">;
export type Checkpoint = Narrow<
  Omit<Schemas["Checkpoint"], "created_at">,
  { files: { name: string; bytes: number; blob: string }[] }
>;
export type Artifact = Omit<Schemas["Artifact"], "created_at" | "media_type">;

export interface Comparison {
  base_score: number;
  trained_score: number;
  delta: number;
  /** Null where there are too few graphs to tell. */
  delta_se: number | null;
  delta_ci95: [number, number] | null;
  win_rate?: number | null;
}

export interface EvaluationResult extends Comparison {
  evaluated_graphs: number;
  evaluated_images: number;
  by_kind: Partial<Record<QuestionKind, Comparison>>;
}

export type Evaluation = Narrow<
  Schemas["Evaluation"],
  {
    /** `progress` looks at a few graphs while the job trains, to choose its best checkpoint; `final` is the result. */
    kind: "final" | "progress";
    result?: EvaluationResult | null;
    settings: { guidance_scale: number; num_inference_steps: number };
  }
>;
export type EvaluationImage = Omit<Schemas["EvaluationImage"], "seed">;

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

export type ImportSummary = Omit<Schemas["Import"], "error" | "finished_at" | "state">;
export type Reject = Schemas["Reject"];
export type Health = Schemas["Health"];

export type JobEstimate = Schemas["JobEstimate"];
export type Edit = Schemas["Edit"];
export type BulkResult = Schemas["BulkResult"];
export type Collection = Schemas["Collection"];
export type Revision = Schemas["Revision"];
export type ExportSummary = Narrow<Schemas["Export"], { error?: { title?: string; detail?: string; message?: string } | string | null }>;
export type Token = Schemas["Token"];
export type NewToken = Schemas["NewToken"];
export type AuditEntry = Schemas["AuditEntry"];
export type ScoreBin = Schemas["ScoreBin"];
