/** One job: what it does now, its curves, its pictures before and after, its result, its log. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { useAddress } from "../address";
import * as api from "../api/client";
import { followJobEvents } from "../api/events";
import { useMetrics } from "../api/metrics";
import { useResource } from "../api/resource";
import type { Evaluation, Job, JobEvent, JobSample, MetricPoint } from "../api/types";
import { Bar, Empty, ErrorNotice, isActive, Panel, Picture, Skeleton, StateChip } from "../components/basics";
import { Curve, IntervalCurve, type Look } from "../components/curve";
import { EvaluationFigures, EvaluationImages } from "../components/evaluation-result";
import { Icon, type IconName } from "../components/icon";
import { JobInversion } from "../components/job-inversion";
import { formatBytes, formatCount, formatNumber, formatSeconds, formatTime, humanize, shortHash } from "../format";
import { CURVES, jobTitle, secondsOf, specRows } from "../job-facts";
import { usePageTitle } from "../page-title";

export function JobCurve({ points, curve, maxStep, height }: { points: MetricPoint[]; curve: (typeof CURVES)[number]; maxStep?: number | undefined; height?: number }) {
  const steps = useMemo(() => points.map((point) => point.step), [points]);
  const values = useMemo(() => points.map((point) => point[curve.name] ?? null), [points, curve.name]);
  return (
    <Curve steps={steps} values={values} label={curve.label} reference={curve.reference} tone={curve.tone} maxStep={maxStep} {...(height ? { height } : {})} />
  );
}

const ACTIONS: { action: api.JobAction; label: string; icon: IconName; when: (state: string) => boolean; danger?: boolean }[] = [
  { action: "pause", label: "Pause", icon: "pause", when: (state) => ["queued", "preparing", "running"].includes(state) },
  { action: "resume", label: "Resume", icon: "play", when: (state) => state === "paused" },
  { action: "save", label: "Save now", icon: "save", when: (state) => state === "running" },
  {
    action: "cancel",
    label: "Cancel",
    icon: "stop",
    when: (state) => ["validating", "queued", "preparing", "running", "pausing", "paused"].includes(state),
    danger: true,
  },
];

function Actions({ job, onDone }: { job: Job; onDone: () => void }) {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  const [sure, setSure] = useState(false);
  const act = async (action: api.JobAction) => {
    // A cancelled job cannot be resumed: the first click asks, the second does it.
    if (action === "cancel" && !sure) {
      setSure(true);
      setTimeout(() => setSure(false), 4000);
      return;
    }
    setBusy(true);
    setFailure(null);
    try {
      await api.actOnJob(job.id, action);
    } catch (error) {
      setFailure(error as Error);
    }
    setBusy(false);
    onDone();
  };
  return (
    <div class="stack stack-s">
      <div class="row row-wrap">
        {ACTIONS.filter(({ when }) => when(job.state)).map(({ action, label, icon, danger }) => (
          <button key={action} type="button" disabled={busy} class={`button ${danger ? "button-danger" : ""}`} onClick={() => act(action)}>
            <Icon name={icon} /> {action === "cancel" && sure ? "Really cancel?" : label}
          </button>
        ))}
      </div>
      {failure && <ErrorNotice error={failure} what="That did not work." />}
    </div>
  );
}

function Samples({ job }: { job: Job }) {
  const [address, change] = useAddress();
  // Of another key once it is paused, resumed or done: each time the list is asked for once more, and then polled or not.
  const active = isActive(job.state);
  const samples = useResource(`job/${job.id}/samples/${active}`, (signal) => api.listSamples(job.id, signal), {
    poll: () => (active ? 3000 : null),
    keep: true,
  });
  const items = samples.value?.items ?? [];
  const steps = useMemo(() => [...new Set(items.map((sample) => sample.step))].sort((a, b) => a - b), [items]);
  const bySlot = useMemo(() => {
    const slots = new Map<string, { first: JobSample; byStep: Map<number, JobSample> }>();
    for (const sample of items) {
      const key = `${sample.graph_id}/${sample.index}`;
      const slot = slots.get(key) ?? { first: sample, byStep: new Map<number, JobSample>() };
      slot.byStep.set(sample.step, sample);
      slots.set(key, slot);
    }
    return slots;
  }, [items]);
  const base = steps[0];
  const asked = Number(address.step);
  const at = address.step !== undefined && steps.includes(asked) ? steps.indexOf(asked) : steps.length - 1;
  const step = steps[at];
  return (
    <Panel
      title="Samples"
      label="Samples"
      extra={
        steps.length > 1 && step !== undefined ? (
          <label class="row step-slider">
            <span class="small quiet tabular nowrap">step {formatCount(step)}</span>
            <input
              type="range"
              class="range"
              min="0"
              max={steps.length - 1}
              value={at}
              aria-label="Training step of the samples"
              aria-valuetext={`step ${step}`}
              onInput={(event) => {
                const chosen = Number(event.currentTarget.value);
                change({ step: chosen === steps.length - 1 ? null : String(steps[chosen]) });
              }}
            />
          </label>
        ) : undefined
      }
    >
      {samples.error && !samples.value && <ErrorNotice error={samples.error} what="The samples could not be loaded." />}
      {samples.value && items.length === 0 ? (
        <Empty icon="pairs" title="No samples yet">
          <p>They are drawn from held-out graphs as training proceeds, always from the same noise.</p>
        </Empty>
      ) : (
        <div class="diptych-grid">
          {!samples.value && !samples.error && Array.from({ length: 6 }, (_, i) => <Skeleton key={i} height={150} />)}
          {[...bySlot.entries()].map(([key, { first, byStep }]) => (
            <Link key={key} href={`/graphs/${first.graph_id}`} class="diptych">
              <div class="diptych-pictures">
                <Picture src={byStep.get(base ?? 0)?.image_url} alt="Before training" />
                <Picture src={step === undefined ? null : byStep.get(step)?.image_url} alt={`At step ${step}`} />
                <span class="under">{base === 0 ? "base" : `step ${formatCount(base)}`}</span>
                <span class="under">step {formatCount(step)}</span>
              </div>
              {first.caption && <div class="small faint truncate">{first.caption}</div>}
            </Link>
          ))}
        </div>
      )}
    </Panel>
  );
}

function describeEvent(event: JobEvent): string {
  const { data } = event;
  if (data === null || data === undefined) return "";
  if (typeof data === "string") return data;
  if (typeof data !== "object") return String(data);
  const fields = data as Record<string, unknown>;
  if (typeof fields.message === "string") return fields.message;
  return Object.entries(fields)
    .filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => `${humanize(name)} ${typeof value === "number" ? formatNumber(value) : String(value)}`)
    .join(", ");
}

/** Metrics come by their own way; as events they would only bury the log. */
const QUIET = new Set(["metrics", "metric", "progress", "keep-alive"]);

function Log({ job, onEvent }: { job: string; onEvent: (event: JobEvent) => void }) {
  const [events, setEvents] = useState<JobEvent[]>([]);
  useEffect(() => {
    const abort = new AbortController();
    setEvents([]);
    void followJobEvents(
      job,
      (event) => {
        onEvent(event);
        if (QUIET.has(event.kind)) return;
        setEvents((old) => (old.some(({ sequence }) => sequence === event.sequence) ? old : [...old.slice(-400), event]));
      },
      abort.signal,
    );
    return () => abort.abort();
  }, [job]);
  return (
    <Panel title="Log" flush label="Log">
      <ol class="log" tabIndex={0} aria-label="Events of this job">
        {events.length === 0 && <li class="faint">No events yet</li>}
        {[...events].reverse().map((event) => (
          <li key={event.sequence}>
            <time class="faint tabular">{formatTime(event.at)}</time>
            <span class="log-kind">{humanize(event.kind)}</span>
            <span class="quiet">{describeEvent(event)}</span>
          </li>
        ))}
      </ol>
    </Panel>
  );
}

/** The comparisons on the way, in the order of their steps; without an interval the point stands alone. */
const looksOf = (evaluations: Evaluation[]): Look[] =>
  evaluations
    .flatMap(({ kind, step, result }) =>
      kind === "progress" && result && step != null
        ? [{ step, value: result.delta, low: result.delta_ci95?.[0] ?? result.delta, high: result.delta_ci95?.[1] ?? result.delta }]
        : [],
    )
    .sort((a, b) => a.step - b.step);

const errorText = (error: Job["error"]): string =>
  typeof error === "string" ? error : [error?.title, error?.detail ?? error?.message].filter(Boolean).join(": ");

export function JobPage({ id }: { id: string }) {
  const job = useResource(`job/${id}`, (signal) => api.getJob(id, signal), {
    poll: (value) => (value && !isActive(value.state) ? 5000 : 1000),
    keep: true,
  });
  const value = job.value;
  const active = value ? isActive(value.state) : true;
  const metrics = useMetrics(id, active);
  const evaluations = useResource(`job/${id}/evaluations`, (signal) => api.listEvaluations(id, signal), {
    poll: (page) => (active || !page?.items.some((item) => item.kind !== "progress" && item.result) ? 3000 : null),
    keep: true,
  });
  const checkpoints = useResource(`job/${id}/checkpoints/${active}`, (signal) => api.listCheckpoints(id, signal), {
    poll: () => (active ? 5000 : null),
    keep: true,
  });
  const artifacts = useResource(`job/${id}/artifacts/${active}`, (signal) => api.listArtifacts(id, signal), { keep: true });
  usePageTitle(value ? `${jobTitle(value)} job` : "Job");

  const all = evaluations.value?.items ?? [];
  const looks = useMemo(() => looksOf(all), [evaluations.value]);

  if (job.error && !value) {
    return (
      <>
        <ErrorNotice error={job.error} what="This job could not be shown." />
        <Link href="/jobs" class="link">
          To all jobs
        </Link>
      </>
    );
  }
  // The result stands above the curves: they wait for it, so that nothing is pushed away.
  if (!value || (evaluations.value === undefined && evaluations.error === undefined)) {
    return (
      <>
        <div class="page-head">
          <h1>Job</h1>
        </div>
        <Skeleton height="75vh" />
      </>
    );
  }
  const finals = all.filter((item) => item.kind !== "progress");
  const evaluation = finals.find((item) => item.result) ?? finals[0];
  const share = value?.progress?.total ? value.progress.done / value.progress.total : 0;
  const maxStep = typeof value?.spec?.max_steps === "number" ? value.spec.max_steps : undefined;
  const last = metrics.points.at(-1);

  return (
    <>
      <div class="page-head">
        <div class="grow">
          <Link href="/jobs" class="crumb">
            <Icon name="left" size={12} /> Jobs
          </Link>
          <div class="row row-wrap">
            <h1>{value ? jobTitle(value) : "Job"}</h1>
            {value && <StateChip state={value.state} />}
          </div>
          <p class="row row-wrap small">
            <span class="mono faint">{id}</span>
            {value?.spec?.pairing_id && (
              <Link href={`/pairings/${value.spec.pairing_id}`} class="link">
                its pairs
              </Link>
            )}
            {value && <span class="tabular">{formatSeconds(secondsOf(value))}</span>}
          </p>
        </div>
        {value && <Actions job={value} onDone={job.reload} />}
      </div>

      {value?.error && (
        <div class="notice notice-error" role="alert">
          <Icon name="alert" />
          <div>
            <strong>The job {value.state === "failed" ? "failed" : "stopped"}</strong>
            <div>{errorText(value.error)}</div>
          </div>
        </div>
      )}

      <div class="job-progress">
        <Bar value={share} moving={active} tone={value?.state === "succeeded" ? "winner" : "accent"} label="Progress of the job" />
        <div class="row spread small quiet tabular">
          <span>
            {value?.stage ? humanize(value.stage) : " "}
            {value?.progress ? ` · ${formatCount(value.progress.done)} of ${formatCount(value.progress.total)} ${value.progress.unit ?? ""}` : ""}
          </span>
          <span>{last?.seconds !== undefined && active ? `${formatNumber(last.seconds)} s a step` : ""}</span>
        </div>
      </div>

      {evaluation && (
        <Panel title="Held-out evaluation" label="Held-out evaluation" extra={!evaluation.result ? <StateChip state={evaluation.state} /> : undefined}>
          {evaluation.result ? (
            <div class="stack">
              <EvaluationFigures result={evaluation.result} settings={evaluation.settings} />
              <EvaluationImages evaluation={evaluation} />
            </div>
          ) : (
            <div class="stack stack-s">
              <Bar value={evaluation.progress?.total ? evaluation.progress.done / evaluation.progress.total : 0} moving={isActive(evaluation.state)} />
              <span class="small quiet tabular">
                {formatCount(evaluation.progress?.done)} of {formatCount(evaluation.progress?.total)} {evaluation.progress?.unit ?? "images"} made and scored
              </span>
            </div>
          )}
        </Panel>
      )}

      <Panel title="Curves" label="Curves" extra={<span class="small faint">faint: each step; strong: moving average; dashed: where an untrained model stands</span>}>
        {metrics.ready && metrics.points.length === 0 && !active ? (
          <Empty icon="jobs" title="This job took no step">
            <p>The log below says why.</p>
          </Empty>
        ) : (
          <div class="curves">
            {CURVES.map((curve) => (
              <JobCurve key={curve.name} points={metrics.points} curve={curve} maxStep={maxStep} />
            ))}
          </div>
        )}
      </Panel>

      {looks.length > 0 && (
        <Panel
          title="Looks at held-out graphs on the way"
          label="Looks at held-out graphs on the way"
          extra={<span class="small faint">a few other held-out graphs: they choose the checkpoint, not the result</span>}
        >
          <IntervalCurve looks={looks} label="Change of the held-out score, 95 % interval" tone="trained" maxStep={maxStep} />
        </Panel>
      )}

      {value ? <Samples job={value} /> : <Skeleton height={240} />}

      {value?.spec?.pairing_id && <JobInversion job={value} pairing={value.spec.pairing_id} />}

      <div class="graph-layout even">
        <Log
          job={id}
          onEvent={(event) => {
            if (event.kind === "state" || event.kind === "stage") job.reload();
          }}
        />
        <div class="stack">
          <Panel title="Settings" label="Settings">
            {value ? (
              <dl class="facts">
                {specRows(value.spec).map(([name, text]) => [<dt key={name}>{humanize(name)}</dt>, <dd key={`${name}=`}>{text}</dd>])}
              </dl>
            ) : (
              <Skeleton height={120} />
            )}
          </Panel>
          <Panel title="Checkpoints and files" flush label="Checkpoints and files">
            <table class="table">
              <tbody>
                {(artifacts.value?.items ?? []).map((artifact) => (
                  <tr key={artifact.name}>
                    <td>
                      {artifact.url ? (
                        <a href={artifact.url} class="link" download>
                          {artifact.name}
                        </a>
                      ) : (
                        artifact.name
                      )}
                    </td>
                    <td class="mono faint">{shortHash(artifact.sha256)}</td>
                    <td class="number">{formatBytes(artifact.bytes)}</td>
                  </tr>
                ))}
                {(checkpoints.value?.items ?? []).map((checkpoint) => (
                  <tr key={checkpoint.step}>
                    <td>checkpoint, step {formatCount(checkpoint.step)}</td>
                    <td class="faint small">
                      {checkpoint.files.length} {checkpoint.files.length === 1 ? "file" : "files"}
                    </td>
                    <td class="number">{formatBytes(checkpoint.bytes)}</td>
                  </tr>
                ))}
                {checkpoints.value?.items.length === 0 && (artifacts.value?.items.length ?? 0) === 0 && (
                  <tr>
                    <td class="faint">None yet</td>
                  </tr>
                )}
              </tbody>
            </table>
          </Panel>
        </div>
      </div>
    </>
  );
}
