/** A picture's sampling path against its inversion: asked for here, followed here, drawn by `InversionFigure`. */
import { useState } from "preact/hooks";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { Inversion } from "../api/types";
import { formatCount, humanize } from "../format";
import { Bar, Empty, ErrorNotice, isActive, Skeleton } from "./basics";
import { Icon } from "./icon";
import { InversionFigure } from "./inversion-figure";

/** How an inversion is asked for. */
export interface InversionSettings {
  steps: number;
  guidance: number;
}

export const INVERSION_DEFAULTS: InversionSettings = { steps: 50, guidance: 1 };

const errorText = (error: unknown): string => {
  const fields = (error ?? {}) as { message?: string; detail?: string };
  return fields.message ?? fields.detail ?? "The service's log says why.";
};

/** Follows the inversion `id` to its end. */
function Following({ id }: { id: string }) {
  const found = useResource<Inversion>(`inversion/${id}`, (signal) => api.getInversion(id, signal), {
    poll: (value) => (value && !isActive(value.state) ? null : 600),
  });
  const value = found.value;
  if (found.error && !value) return <ErrorNotice error={found.error} what="The inversion could not be followed." />;
  if (!value) return <Skeleton height={420} />;
  if (value.state === "failed" || value.state === "cancelled") {
    return <ErrorNotice error={new Error(errorText(value.error))} what={`The inversion ${value.state}.`} />;
  }
  if (value.result) return <InversionFigure paths={value.result} />;
  const { done, total } = value.progress;
  return (
    <div class="stack stack-s inversion-wait">
      <Bar value={total ? done / total : 0} moving label="Progress of the inversion" />
      <span class="small quiet tabular">
        {humanize(value.state)}: {formatCount(done)} of {formatCount(total)} steps
        {value.state === "queued" ? "; it waits until a worker is free" : ""}
      </span>
    </div>
  );
}

/** `candidate` is the one whose paths are shown; null while nobody knows it. */
export function InversionView({ candidate, defaults = INVERSION_DEFAULTS }: { candidate: string | null; defaults?: InversionSettings }) {
  const [text, setText] = useState<{ steps?: string; guidance?: string }>({});
  const steps = text.steps ?? String(defaults.steps);
  const guidance = text.guidance ?? String(defaults.guidance);
  const [asked, setAsked] = useState<{ candidate: string; id: string } | null>(null);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  const known = useResource(candidate === null ? null : `inversions/${candidate}`, (signal) => api.listInversions(candidate ?? "", signal));
  const fits = (one: Inversion) => one.num_inference_steps === Number(steps) && one.guidance_scale === Number(guidance) && one.label === "destination";
  const shown = asked?.candidate === candidate ? asked.id : known.value?.items.find((one) => fits(one) && one.state !== "failed")?.id;

  const compare = async () => {
    if (candidate === null) return;
    setBusy(true);
    setFailure(null);
    try {
      const made = await api.createInversion({ candidate_id: candidate, num_inference_steps: Number(steps), guidance_scale: Number(guidance) });
      setAsked({ candidate, id: made.id });
    } catch (error) {
      setFailure(error as Error);
    }
    setBusy(false);
  };
  const number = (name: "steps" | "guidance", label: string, value: string) => (
    <label class="field field-inline">
      <span>{label}</span>
      <input
        class="input tabular"
        inputMode="decimal"
        value={value}
        required
        onInput={(event) => {
          const typed = event.currentTarget.value;
          setText((old) => ({ ...old, [name]: typed }));
          setAsked(null);
        }}
      />
    </label>
  );
  return (
    <div class="stack">
      <form
        class="row row-wrap"
        onSubmit={(event) => {
          event.preventDefault();
          void compare();
        }}
      >
        {number("steps", "Inversion steps", steps)}
        {number("guidance", "Guidance", guidance)}
        <button type="submit" class="button button-primary" disabled={busy || candidate === null}>
          <Icon name="refresh" /> Compare the paths
        </button>
      </form>
      {failure && <ErrorNotice error={failure} what="That was not accepted." />}
      {known.error && !known.value && <ErrorNotice error={known.error} what="The inversions could not be loaded." />}
      {candidate !== null && !known.value && !known.error && <Skeleton height={120} />}
      {shown ? (
        <Following key={shown} id={shown} />
      ) : (
        known.value &&
        !failure && (
          <Empty icon="jobs" title="Not inverted with these settings yet">
            <p>Inversion-DPO trains on the path that inverting a picture takes, as if it were the one that sampling took. Compare them for this picture.</p>
          </Empty>
        )
      )}
    </div>
  );
}
