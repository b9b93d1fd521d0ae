/** All training jobs, and the form that starts one from a frozen pairing. */
import { useEffect, useState } from "preact/hooks";
import { Link, useLocation } from "wouter-preact";
import { useAddress } from "../address";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { Evaluation, Job } from "../api/types";
import { Bar, Empty, ErrorNotice, isActive, Panel, Skeleton, StateChip } from "../components/basics";
import { Icon } from "../components/icon";
import { formatAgo, formatCount, formatDelta, formatSeconds, humanize, objectiveLabel } from "../format";
import { usePageTitle } from "../page-title";

export const jobTitle = (job: Job): string => objectiveLabel(job.spec?.objective?.name);

export const secondsOf = (job: Job): number | null =>
  job.started_at ? ((job.finished_at ? Date.parse(job.finished_at) : Date.now()) - Date.parse(job.started_at)) / 1000 : null;

export function DeltaCell({ evaluation }: { evaluation: Evaluation | undefined }) {
  const result = evaluation?.result;
  if (!result) return <span class="faint">–</span>;
  const [low, high] = result.delta_ci95 ?? [0, 0];
  return (
    <span
      class="tabular nowrap"
      style={{ color: low > 0 ? "var(--winner)" : high < 0 ? "var(--loser)" : "var(--ink-2)", fontWeight: 600 }}
      title={`95 % interval ${formatDelta(low)} to ${formatDelta(high)}`}
    >
      {formatDelta(result.delta)} {result.delta_se !== null && <span class="faint small">± {(1.96 * result.delta_se).toFixed(3)}</span>}
    </span>
  );
}

const OBJECTIVES = [
  { name: "inversion-dpo", help: "four-term loss along a path of the reference; the default with many pairs" },
  { name: "diffusion-dpo", help: "fresh noise; the safer choice with few pairs or few steps" },
  { name: "inpo", help: "the trained model itself inverts the images; no path is kept" },
  { name: "sft", help: "noise prediction on winners alone: the baseline" },
  { name: "inversion-dpo-published", help: "Eq. 16 as published: its gradient is zero at the start, the job's guard stops it" },
];

interface Form {
  pairing: string;
  objective: string;
  path: string;
  trainable: string;
  rank: string;
  steps: string;
  batch: string;
  rate: string;
  beta: string;
  seed: string;
}

function StartForm({ pairing, onDone }: { pairing: string | undefined; onDone: (job: Job) => void }) {
  const pairings = useResource("pairings", api.listPairings);
  const [form, setForm] = useState<Form>({
    pairing: pairing ?? "",
    objective: "inversion-dpo",
    path: "auto",
    trainable: "unet",
    rank: "16",
    steps: "300",
    batch: "16",
    rate: "3e-5",
    beta: "2000",
    seed: "0",
  });
  const [key] = useState(() => crypto.randomUUID());
  const [failure, setFailure] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const items = pairings.value?.items ?? [];
  useEffect(() => {
    if (!form.pairing && items[0]) setForm((old) => ({ ...old, pairing: items[0]?.id ?? "" }));
  }, [items.length]);
  const set = (name: keyof Form) => (event: { currentTarget: { value: string } }) => {
    const { value } = event.currentTarget;
    setForm((old) => ({ ...old, [name]: value }));
  };
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      onDone(await api.createJob(jobSpec(form), key));
    } catch (error) {
      setFailure(error as Error);
      setBusy(false);
    }
  };
  if (pairings.value && items.length === 0) {
    return (
      <Empty icon="lock" title="Freeze pairs first">
        <p>A job trains on a frozen pairing, so that its result can be traced back to exactly these pictures and scores.</p>
        <Link href="/pairs" class="button button-primary">
          To the pairs
        </Link>
      </Empty>
    );
  }
  const text = (name: keyof Form, label: string, help: string) => (
    <label class="field">
      <span>{label}</span>
      <input class="input tabular" inputMode="decimal" value={form[name]} onInput={set(name)} required />
      <small>{help}</small>
    </label>
  );
  return (
    <form class="stack" onSubmit={submit} aria-label="Start a job">
      <div class="form-grid">
        <label class="field wide">
          <span>Pairing</span>
          <select class="select" value={form.pairing} onChange={set("pairing")}>
            {items.map((item) => (
              <option key={item.id} value={item.id}>
                {item.name} ({formatCount(item.num_pairs)} pairs)
              </option>
            ))}
          </select>
          <small>what winners and losers it learns from</small>
        </label>
        <label class="field wide">
          <span>Objective</span>
          <select class="select" value={form.objective} onChange={set("objective")}>
            {OBJECTIVES.map(({ name }) => (
              <option key={name} value={name}>
                {objectiveLabel(name)}
              </option>
            ))}
          </select>
          <small>{OBJECTIVES.find(({ name }) => name === form.objective)?.help}</small>
        </label>
        {form.objective === "inversion-dpo" && (
          <label class="field">
            <span>Path</span>
            <select class="select" value={form.path} onChange={set("path")}>
              <option value="auto">auto</option>
              <option value="recorded">recorded</option>
              <option value="inverted">inverted</option>
            </select>
            <small>auto: replayed from the seed where this model made it, else inverted</small>
          </label>
        )}
        <label class="field">
          <span>Trains</span>
          <select class="select" value={form.trainable} onChange={set("trainable")}>
            <option value="unet">the whole UNet</option>
            <option value="lora">a LoRA</option>
          </select>
          <small>{form.trainable === "lora" ? "small file, slower to learn" : "the pilot's setting"}</small>
        </label>
        {form.trainable === "lora" && text("rank", "Rank", "of the adapter")}
        {text("steps", "Steps", "pilot: 300, 900 with many pairs")}
        {text("batch", "Batch", "pairs a step")}
        {text("rate", "Learning rate", "1e-5 to 3e-5 at β 2000")}
        {text("beta", "β", "how far it may leave the reference")}
        {text("seed", "Seed", "same seed, same run")}
      </div>
      {failure && <ErrorNotice error={failure} what="The job was not accepted." />}
      <div class="row">
        <button type="submit" class="button button-primary" disabled={busy || !form.pairing}>
          <Icon name="play" /> Start training
        </button>
      </div>
    </form>
  );
}

export function jobSpec(form: Form): Record<string, unknown> {
  const objective: Record<string, unknown> = { name: form.objective };
  if (form.objective === "inversion-dpo") objective.path = form.path;
  const rank = Number(form.rank);
  return {
    pairing_id: form.pairing,
    objective,
    trainable: form.trainable === "lora" ? { kind: "lora", rank, alpha: rank } : "unet",
    beta: Number(form.beta),
    max_steps: Number(form.steps),
    batch_size: Number(form.batch),
    learning_rate: Number(form.rate),
    seed: Number(form.seed),
  };
}

export function JobsPage() {
  usePageTitle("Jobs");
  const [address, change] = useAddress();
  const [, navigate] = useLocation();
  const open = address.new !== undefined || address.pairing !== undefined;
  const jobs = useResource("jobs", api.listJobs, { poll: (page) => (page?.items.some((job) => isActive(job.state)) ? 1500 : 6000), keep: true });
  const evaluations = useResource("evaluations", (signal) => api.listEvaluations(undefined, signal), { poll: () => 6000, keep: true });
  const items = jobs.value?.items ?? [];
  return (
    <>
      <div class="page-head">
        <div>
          <h1>Jobs</h1>
          <p>Each job trains on a frozen pairing and is judged on held-out graphs against the base, with the same seeds.</p>
        </div>
        <button type="button" class="button button-primary" aria-expanded={open} onClick={() => change({ new: open ? null : "1", pairing: null }, true)}>
          <Icon name={open ? "cross" : "plus"} /> {open ? "Close" : "New job"}
        </button>
      </div>
      {open && (
        <Panel title="New job" label="New job">
          <StartForm pairing={address.pairing} onDone={(job) => navigate(`/jobs/${job.id}`)} />
        </Panel>
      )}
      {jobs.error && <ErrorNotice error={jobs.error} what="The jobs could not be listed." />}
      <Panel flush label="Jobs">
        {!jobs.value && !jobs.error && (
          <div class="panel-body stack stack-s">
            {[0, 1, 2].map((row) => (
              <Skeleton key={row} height={40} />
            ))}
          </div>
        )}
        {jobs.value && items.length === 0 && (
          <Empty icon="jobs" title="No job yet">
            <p>Start one from a frozen pairing: the curves and the pictures appear while it trains.</p>
            {!open && (
              <button type="button" class="button button-primary" onClick={() => change({ new: "1" }, true)}>
                New job
              </button>
            )}
          </Empty>
        )}
        {items.length > 0 && (
          <div class="table-scroll">
            <table class="table">
              <thead>
                <tr>
                  <th scope="col">Job</th>
                  <th scope="col">State</th>
                  <th scope="col">Progress</th>
                  <th scope="col" class="number">
                    Held-out change
                  </th>
                  <th scope="col" class="number">
                    Time
                  </th>
                  <th scope="col">Started</th>
                </tr>
              </thead>
              <tbody>
                {items.map((job) => {
                  const share = job.progress?.total ? job.progress.done / job.progress.total : 0;
                  const evaluation = evaluations.value?.items.find((item) => item.job_id === job.id && item.kind !== "progress" && item.result);
                  return (
                    <tr key={job.id}>
                      <td>
                        <Link href={`/jobs/${job.id}`} class="link">
                          {jobTitle(job)}
                        </Link>
                        <div class="mono faint small">{job.id.slice(-12)}</div>
                      </td>
                      <td>
                        <StateChip state={job.state} />
                      </td>
                      <td style={{ minWidth: 150 }}>
                        <Bar value={share} moving={isActive(job.state)} tone={job.state === "succeeded" ? "winner" : "accent"} />
                        <span class="small faint tabular">
                          {formatCount(job.progress?.done)} / {formatCount(job.progress?.total)} {job.progress?.unit ?? ""}
                          {job.stage && isActive(job.state) ? ` · ${humanize(job.stage)}` : ""}
                        </span>
                      </td>
                      <td class="number">
                        <DeltaCell evaluation={evaluation} />
                      </td>
                      <td class="number nowrap">{formatSeconds(secondsOf(job))}</td>
                      <td class="quiet nowrap">{formatAgo(job.started_at ?? job.created_at)}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
    </>
  );
}
