/** The first page: the demo while it fills, its result at the end; without a demo, what to do next. */
import { useEffect, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import * as api from "../api/client";
import { useMetrics } from "../api/metrics";
import { useResource } from "../api/resource";
import type { Demo, DemoStage, Evaluation, ImportSummary, Job } from "../api/types";
import { Bar, ErrorNotice, isActive, Panel, Skeleton, StateChip } from "../components/basics";
import { EvaluationFigures, EvaluationImages, intervalRow } from "../components/evaluation-result";
import { Icon } from "../components/icon";
import { Intervals } from "../components/interval";
import { formatCount, formatScore3, formatSeconds, humanize, objectiveLabel } from "../format";
import { CURVES, jobTitle } from "../job-facts";
import { usePageTitle } from "../page-title";
import { GraphCard } from "../components/graph-card";
import { DropZone } from "../components/drop-zone";
import { MakeMany } from "../components/make-many";
import { ImportCounts } from "./imports";
import { JobCurve } from "./job";

const DONE = new Set(["done", "succeeded", "finished", "completed"]);
const RUNNING = new Set(["running", "active", "preparing"]);

const STAGE_TEXT: Record<string, string> = {
  graphs: "Graphs",
  ingest: "Graphs",
  generate: "Candidates",
  score: "Scores",
  pair: "Pairs",
  freeze: "Pairs",
  train: "Training",
  evaluate: "Evaluation",
};

/** `train:diffusion-dpo` → what it does, and with which objective. */
const readStage = (name: string): { label: string; objective: string | null } => {
  const [kind = name, objective] = name.split(":");
  const text = STAGE_TEXT[kind] ?? humanize(kind);
  return { label: text.charAt(0).toUpperCase() + text.slice(1), objective: objective ? objectiveLabel(objective) : null };
};

function Stage({ stage }: { stage: DemoStage }) {
  const { label, objective } = readStage(stage.name);
  const done = DONE.has(stage.state);
  const running = RUNNING.has(stage.state);
  const failed = stage.state === "failed";
  const share = done ? 1 : stage.total > 0 ? stage.done / stage.total : 0;
  return (
    <li class={`stage ${done ? "done" : running ? "running" : failed ? "failed" : ""}`} aria-current={running ? "step" : undefined}>
      <span class="stage-name">
        <span class="stage-mark">{done ? <Icon name="check" size={12} /> : failed ? <Icon name="cross" size={12} /> : null}</span>
        {label}
      </span>
      <Bar value={share} moving={running} tone={done ? "winner" : failed ? "loser" : "accent"} />
      <span class="small faint tabular">
        {stage.total > 0
          ? `${done ? "" : `${formatCount(stage.done)} of `}${formatCount(stage.total)} ${stage.unit ?? ""}`
          : done
            ? "done"
            : running
              ? "working"
              : "waiting"}
        {stage.seconds ? <span class="stage-line">{formatSeconds(stage.seconds)}</span> : null}
        {objective && <span class="stage-line truncate">{objective}</span>}
      </span>
    </li>
  );
}

const number = (summary: Record<string, unknown> | null | undefined, ...names: string[]): number | null => {
  for (const name of names) {
    const value = summary?.[name];
    if (typeof value === "number") return value;
  }
  return null;
};

function Figures({ demo, graphs }: { demo: Demo | null; graphs: number | null }) {
  const { summary } = demo ?? { summary: null };
  const stages = (kind: string) => demo?.stages.filter((stage) => stage.name.split(":")[0] === kind) ?? [];
  const done = (kind: string) => (stages(kind).length > 0 ? Math.max(...stages(kind).map((stage) => stage.done)) : null);
  const figures: [string, string][] = [
    ["Graphs", formatCount(number(summary, "graphs", "num_graphs") ?? graphs)],
    ["Candidates", formatCount(number(summary, "candidates", "num_candidates") ?? done("generate"))],
    ["Mean score", formatScore3(number(summary, "mean_score", "mean"))],
    ["Best of four", formatScore3(number(summary, "best_of_four_score", "best_of_four", "best_score"))],
    ["Pairs", formatCount(number(summary, "pairs", "num_pairs") ?? done("pair") ?? done("freeze"))],
    ["Training steps", formatCount(number(summary, "training_steps", "steps") ?? done("train"))],
  ];
  return (
    <div class="figures" data-testid="figures">
      {figures.map(([label, text]) => (
        <div key={label}>
          <span class="figure-label">{label}</span>
          <span class="figure tabular">{text}</span>
        </div>
      ))}
    </div>
  );
}

function LatestGraphs({ running }: { running: boolean }) {
  const latest = useResource("latest-graphs", (signal) => api.listGraphs({ has_candidates: true, sort: running ? "newest" : "spread", limit: 8, facets: false }, signal), {
    poll: () => (running ? 2000 : null),
    keep: true,
  });
  const items = latest.value?.items ?? [];
  if (latest.value && items.length === 0) return null;
  return (
    <section class="stack stack-s" aria-label="Graphs and candidates">
      <div class="row spread">
        <h2>{running ? "Candidates as they come" : "Where the candidates differ most"}</h2>
        <Link href="/graphs" class="link row">
          All graphs <Icon name="arrow" size={13} />
        </Link>
      </div>
      <div class="card-grid">
        {!latest.value && Array.from({ length: 4 }, (_, i) => <Skeleton key={i} height={310} />)}
        {items.map((graph) => (
          <GraphCard key={graph.id} graph={graph} />
        ))}
      </div>
    </section>
  );
}

function LiveJob({ job }: { job: Job }) {
  const active = isActive(job.state);
  const { points } = useMetrics(job.id, active);
  const maxStep = typeof job.spec?.max_steps === "number" ? job.spec.max_steps : undefined;
  return (
    <Panel
      label="Training"
      title={
        <h2 class="row">
          <Link href={`/jobs/${job.id}`} class="link">
            {jobTitle(job)}
          </Link>
          <StateChip state={job.state} />
        </h2>
      }
      extra={
        <span class="small faint tabular">
          {formatCount(job.progress?.done)} of {formatCount(job.progress?.total)} {job.progress?.unit}
        </span>
      }
    >
      <div class="curves curves-two">
        {CURVES.slice(0, 2).map((curve) => (
          <JobCurve key={curve.name} points={points} curve={curve} maxStep={maxStep} height={130} />
        ))}
      </div>
    </Panel>
  );
}

/** The headline is the demo's first objective, whether or not another did better: the others stand below it. */
function Result({ evaluations, jobs, objective }: { evaluations: Evaluation[]; jobs: Job[]; objective: string | null }) {
  const finished = evaluations.flatMap((evaluation) =>
    evaluation.result && evaluation.kind !== "progress" ? [{ evaluation, result: evaluation.result }] : [],
  );
  const isHeadline = ({ evaluation }: { evaluation: Evaluation }) =>
    objective !== null && jobs.find(({ id }) => id === evaluation.job_id)?.spec?.objective?.name === objective;
  const headline = finished.find(isHeadline) ?? finished[0];
  if (!headline) return null;
  const nameOf = (evaluation: Evaluation) => {
    const job = jobs.find(({ id }) => id === evaluation.job_id);
    return job ? jobTitle(job) : "Training";
  };
  return (
    <Panel
      label="Result"
      title={<h2>Result on held-out graphs</h2>}
      extra={
        headline.evaluation.job_id ? (
          <Link href={`/jobs/${headline.evaluation.job_id}`} class="link row small">
            {nameOf(headline.evaluation)} <Icon name="arrow" size={13} />
          </Link>
        ) : undefined
      }
    >
      <div class="stack">
        <EvaluationFigures result={headline.result} settings={headline.evaluation.settings} />
        {finished.length > 1 && (
          <div class="stack stack-s">
            <h3>Objectives on the same pairs</h3>
            <Intervals
              rows={finished.map(({ evaluation, result }) => intervalRow(nameOf(evaluation), result, "trained"))}
            />
          </div>
        )}
        <EvaluationImages evaluation={headline.evaluation} count={12} />
      </div>
    </Panel>
  );
}

/** The whole way in one click, as `diptych demo` goes it. */
function DemoStarter({ onStarted }: { onStarted: () => void }) {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  const start = async (size: api.DemoSize) => {
    setBusy(true);
    setFailure(null);
    try {
      await api.startDemo(size);
      onStarted();
    } catch (error) {
      setFailure(error as Error);
    }
    setBusy(false);
  };
  return (
    <Panel label="Run the demo">
      <div class="row spread row-wrap">
        <div class="grow">
          <h2>See the whole way first</h2>
          <p class="quiet">
            The demo makes graphs of simple shapes, four pictures each, asks every question, pairs, trains and evaluates. This page fills while it runs.
          </p>
        </div>
        <div class="row row-wrap">
          <button type="button" class="button" disabled={busy} onClick={() => void start("small")}>
            A small one, in seconds
          </button>
          <button type="button" class="button button-primary" disabled={busy} onClick={() => void start("normal")}>
            <Icon name="play" /> Run the demo
          </button>
        </div>
      </div>
      {failure && <ErrorNotice error={failure} what="The demo could not be started." />}
    </Panel>
  );
}

/** The way with one's own graphs: what is done is ticked, what comes next stands out. */
function FirstRun({ graphs, jobs }: { graphs: number; jobs: number }) {
  // Held-out graphs get none: a job makes its own when it compares.
  const without = { split: "train", has_candidates: false };
  const bare = useResource(`first-run-bare/${graphs}`, (signal) => api.listGraphs({ ...without, limit: 1, facets: false }, signal), { keep: true });
  const withThem = useResource(`first-run-with/${graphs}`, (signal) => api.listGraphs({ has_candidates: true, limit: 1, facets: false }, signal), { poll: () => 8000, keep: true });
  const pairings = useResource("first-run-pairings", api.listPairings, { poll: () => 8000, keep: true });
  const isBare = (bare.value?.total ?? 0) > 0;
  // Stays until the page is left, so that one sees how far it is.
  const [wasBare, setWasBare] = useState(false);
  useEffect(() => {
    if (isBare) setWasBare(true);
  }, [isBare]);
  const steps: { title: string; text: string; href: string; action: string; done: boolean }[] = [
    { title: "Bring graphs", text: "A LAION-SG file, array or JSON lines, gzip too.", href: "/imports", action: "Import", done: graphs > 0 },
    { title: "Make four candidates each", text: "Pictures of every graph, each asked every question. Seeds, steps and model are recorded.", href: "/graphs", action: "Look at graphs", done: (withThem.value?.total ?? 0) > 0 },
    { title: "Pair and freeze", text: "Winners and losers follow from the scores by a policy that you turn; votes can count too.", href: "/pairs", action: "Pair", done: (pairings.value?.items.length ?? 0) > 0 },
    { title: "Train and compare", text: "A job trains on the frozen pairs; held-out graphs tell whether it helped.", href: "/jobs", action: "Train", done: jobs > 0 },
  ];
  const next = steps.findIndex(({ done }) => !done);
  return (
    <ol class="first-run">
      {steps.map((step, index) => (
        <li key={step.title} class={`panel first-step ${step.done ? "done" : ""} ${index === next ? "next" : ""}`} aria-current={index === next ? "step" : undefined}>
          <span class="first-number">{step.done ? <Icon name="check" size={14} /> : index + 1}</span>
          <h2>{step.title}</h2>
          <p class="quiet">{step.text}</p>
          <div class="row row-wrap">
            {index === 1 && graphs > 0 && (isBare || wasBare) && (
              <MakeMany
                which={{ filter: without }}
                primary={index === next}
                onDone={() => {
                  bare.reload();
                  withThem.reload();
                }}
              />
            )}
            <Link href={step.href} class={`button button-small ${index === next && index !== 1 ? "button-primary" : ""}`}>
              {step.action}
            </Link>
          </div>
        </li>
      ))}
    </ol>
  );
}

export function OverviewPage() {
  usePageTitle("");
  const demo = useResource("demo", api.demo, { poll: (value) => (value === null ? null : value === undefined || value.running ? 1000 : 10_000), keep: true });
  const running = demo.value?.running ?? false;
  const jobs = useResource(`overview-jobs/${running}`, api.listJobs, { poll: () => (running ? 1500 : 8000), keep: true });
  const evaluations = useResource(`overview-evaluations/${running}`, (signal) => api.listEvaluations(undefined, signal), {
    poll: () => (running ? 3000 : 8000),
    keep: true,
  });
  const graphs = useResource(`overview-count/${running}`, (signal) => api.listGraphs({ limit: 1, facets: false }, signal), { poll: () => (running ? 3000 : null), keep: true });
  const total = graphs.value?.total ?? null;
  const jobItems = jobs.value?.items ?? [];
  const shownJobs = jobItems.filter((job) => isActive(job.state));
  const results = evaluations.value?.items ?? [];
  const isDemo = demo.value != null;
  const [taken, setTaken] = useState<ImportSummary | null>(null);
  // What the page holds depends on all of them: shown at once, nothing pushes anything else away.
  const ready = [demo, jobs, evaluations, graphs].every(({ value, error }) => value !== undefined || error !== undefined);
  if (!ready) {
    return (
      <>
        <div class="page-head">
          <div>
            <h1>From a scene graph to a better model</h1>
            <p>&nbsp;</p>
          </div>
        </div>
        <Skeleton height="75vh" />
      </>
    );
  }

  return (
    <>
      <div class="page-head">
        <div>
          <h1>{isDemo ? (running ? "The demo is running" : "The demo, from graph to better model") : "From a scene graph to a better model"}</h1>
          <p>
            {isDemo
              ? "Scene graphs, four candidates each, every question answered, winners paired with losers, a model trained on the pairs and judged on graphs it never saw."
              : "Four steps. Each leaves facts behind that the next one names, so that every result can be traced back."}
          </p>
        </div>
        {isDemo && running && <StateChip state="running" />}
      </div>
      {demo.error && <ErrorNotice error={demo.error} what="The state of the demo could not be read." />}
      {isDemo && demo.value && (
        <Panel label="Progress of the demo">
          <div class="stack">
            <ol class="stages">
              {demo.value.stages.map((stage) => (
                <Stage key={stage.name} stage={stage} />
              ))}
            </ol>
            <Figures demo={demo.value} graphs={total} />
          </div>
        </Panel>
      )}
      {demo.value === null && (
        <>
          <DemoStarter onStarted={demo.reload} />
          <FirstRun graphs={total ?? 0} jobs={jobItems.length} />
          {total === 0 && (
            <DropZone
              onImported={(summary) => {
                setTaken(summary);
                graphs.reload();
              }}
            />
          )}
          {taken && (
            <Panel label="What came of the file">
              <div class="row row-wrap" role="status">
                <strong class="truncate">{taken.file.split("/").at(-1)}</strong>
                <ImportCounts summary={taken} />
                <Link href={`/imports/${taken.id}`} class="link row">
                  {taken.rejected > 0 ? "Why records were rejected" : "The import"} <Icon name="arrow" size={13} />
                </Link>
              </div>
            </Panel>
          )}
        </>
      )}
      <Result evaluations={results} jobs={jobItems} objective={typeof demo.value?.summary?.objective === "string" ? demo.value.summary.objective : null} />
      <div class="live-jobs">
        {(shownJobs.length > 0 ? shownJobs : isDemo ? jobItems.slice(0, 2) : []).map((job) => (
          <LiveJob key={job.id} job={job} />
        ))}
      </div>
      <LatestGraphs running={running} />
    </>
  );
}
