/** New candidates for one graph, or new answers about those it has: asked for here, followed here. */
import { useEffect, useState } from "preact/hooks";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { Candidate, Generation, ScoreRun } from "../api/types";
import { formatCount, humanize } from "../format";
import { Bar, ErrorNotice, isActive, Panel } from "./basics";
import { Icon } from "./icon";

export interface Run {
  kind: "generation" | "score-run";
  id: string;
  /** Scored by this answerer as soon as they are made. */
  thenScore: string | null;
}

const WORDS = { generation: "made", "score-run": "scored" };

/** Follows a run to its end; a generation is scored right after. */
export function Following({ run, onNext, onDone }: { run: Run; onNext: (run: Run) => void; onDone: () => void }) {
  const found = useResource<Generation | ScoreRun>(
    `${run.kind}/${run.id}`,
    (signal) => (run.kind === "generation" ? api.getGeneration(run.id, signal) : api.getScoreRun(run.id, signal)),
    { poll: (value) => (value && !isActive(value.state) ? null : 700), keep: true },
  );
  const [failure, setFailure] = useState<Error | null>(null);
  const state = found.value?.state;
  useEffect(() => {
    if (state !== "succeeded") return;
    if (run.kind === "generation" && run.thenScore) {
      api.createScoreRun(run.id, run.thenScore).then((scoring) => onNext({ kind: "score-run", id: scoring.id, thenScore: null }), setFailure);
    }
    onDone();
  }, [state, run.id]);
  if (found.error && !found.value) return <ErrorNotice error={found.error} what="The run could not be followed." />;
  if (failure) return <ErrorNotice error={failure} what="The new candidates could not be scored." />;
  const progress = found.value?.progress;
  if (state === "failed" || state === "cancelled") {
    const error = found.value?.error as { detail?: string; message?: string } | null | undefined;
    return <ErrorNotice error={new Error(error?.detail ?? error?.message ?? "The service's log says why.")} what={`The run ${state}.`} />;
  }
  return (
    <div class="stack stack-s" data-testid="run">
      <Bar
        value={progress?.total ? progress.done / progress.total : 0}
        moving={state !== "succeeded"}
        tone={state === "succeeded" ? "winner" : "accent"}
        label="Progress of the run"
      />
      <span class="small quiet tabular">
        {state ? humanize(state) : "asked for"}: {formatCount(progress?.done ?? 0)} of {formatCount(progress?.total ?? 0)} {WORDS[run.kind]}
      </span>
    </div>
  );
}

export function MakeAgain({ graph, shown, onDone }: { graph: string; shown: Candidate[]; onDone: () => void }) {
  const [run, setRun] = useState<Run | null>(null);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  const scorers = useResource("scorers", api.listScorers, { keep: true });
  const facts = shown[0]?.generation;
  const [form, setForm] = useState<{ seed: string; steps?: string; guidance?: string; count?: string; answerer?: string }>({ seed: "1" });
  const known = [...new Set(["shapes", "shapes-boxes", ...(scorers.value?.items ?? []).map(({ name }) => name)])];
  const answerer = form.answerer ?? shown[0]?.answers[0]?.answerer ?? known[0] ?? "shapes";
  const steps = form.steps ?? String(facts?.num_inference_steps ?? 20);
  const guidance = form.guidance ?? (facts ? String(facts.guidance_scale) : "");
  const count = form.count ?? String(shown.length || 4);

  const start = async (ask: () => Promise<Run>) => {
    setBusy(true);
    setFailure(null);
    try {
      setRun(await ask());
    } catch (error) {
      setFailure(error as Error);
    }
    setBusy(false);
  };
  const generate = () =>
    start(async () => {
      const made = await api.createGeneration({
        graph_ids: [graph],
        seed: Number(form.seed),
        num_candidates: Number(count),
        num_inference_steps: Number(steps),
        ...(guidance === "" ? {} : { guidance_scale: Number(guidance) }),
        ...(facts ? { model: facts.model_hash } : {}),
      });
      return { kind: "generation", id: made.id, thenScore: answerer };
    });
  const score = () =>
    start(async () => ({ kind: "score-run", id: (await api.createScoreRun(facts?.id ?? "", answerer)).id, thenScore: null }));

  const number = (name: "seed" | "steps" | "guidance" | "count", label: string, value: string) => (
    <label class="field">
      <span>{label}</span>
      <input
        class="input tabular"
        inputMode="decimal"
        value={value}
        required={name !== "guidance"}
        onInput={(event) => {
          const text = event.currentTarget.value;
          setForm((old) => ({ ...old, [name]: text }));
        }}
      />
    </label>
  );
  return (
    <Panel title="Make and score again" label="Make and score again">
      <form
        class="stack stack-s"
        onSubmit={(event) => {
          event.preventDefault();
          void generate();
        }}
      >
        <div class="form-grid form-grid-small">
          {number("seed", "Seed", form.seed)}
          {number("count", "Candidates", count)}
          {number("steps", "Steps", steps)}
          {number("guidance", "Guidance", guidance)}
          <label class="field">
            <span>Answered by</span>
            <select
              class="select"
              value={answerer}
              onChange={(event) => {
                const text = event.currentTarget.value;
                setForm((old) => ({ ...old, answerer: text }));
              }}
            >
              {known.map((name) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        </div>
        <div class="row row-wrap">
          <button type="submit" class="button button-primary" disabled={busy}>
            <Icon name="refresh" /> Generate and score
          </button>
          {facts && (
            <button type="button" class="button" disabled={busy} onClick={() => void score()}>
              <Icon name="question" /> Score those shown
            </button>
          )}
        </div>
        {failure && <ErrorNotice error={failure} what="That was not accepted." />}
        {run && <Following key={run.id} run={run} onNext={setRun} onDone={onDone} />}
      </form>
    </Panel>
  );
}
