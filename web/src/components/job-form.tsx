/** Starts a job: the few choices that matter, and every other field that the API's schema has, with its default. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { Job } from "../api/types";
import { formatCount, humanize, objectiveLabel } from "../format";
import { fieldsOf, jobRequest, type FormField, type JobForm } from "../job-form";
import { Empty, ErrorNotice, Skeleton } from "./basics";
import { Icon } from "./icon";
import { JobCost } from "./job-cost";

const OBJECTIVES = [
  { name: "inversion-dpo", help: "four-term loss along a path of the reference; the default with many pairs" },
  { name: "diffusion-dpo", help: "fresh noise; the safer choice with few pairs or few steps" },
  { name: "inpo", help: "the trained model itself inverts the images; no path is kept" },
  { name: "sft", help: "noise prediction on winners alone: the baseline" },
  { name: "inversion-dpo-published", help: "Eq. 16 as published: its gradient is zero at the start, the job's guard stops it" },
];

const TRAINABLES = [
  { name: "unet", label: "the whole UNet", help: "the pilot's setting" },
  { name: "lora", label: "a LoRA of the UNet", help: "small file, slower to learn" },
  { name: "scene-graph-encoder", label: "the scene-graph encoder", help: "the UNet stays as it is" },
  { name: "scene-graph-encoder-lora", label: "a LoRA of the encoder", help: "smallest of all" },
];

/** Beside the pairing and the objective these are what one changes; the rest is folded away. */
const FIRST = ["max_steps", "batch_size", "learning_rate", "beta", "seed", "name"];

export function JobStartForm({ pairing, onDone }: { pairing: string | undefined; onDone: (job: Job) => void }) {
  const pairings = useResource("pairings", api.listPairings);
  const schema = useResource("job-schema", api.jobSchema);
  const fields = useMemo(() => (schema.value ? fieldsOf(schema.value) : []), [schema.value]);
  const [form, setForm] = useState<JobForm>({
    pairing: pairing ?? "",
    objective: "inversion-dpo",
    path: "auto",
    trainable: "unet",
    rank: "16",
    changed: {},
  });
  const [key, setKey] = useState(() => crypto.randomUUID());
  const [failure, setFailure] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const items = pairings.value?.items ?? [];
  useEffect(() => {
    if (!form.pairing && items[0]) setForm((old) => ({ ...old, pairing: items[0]?.id ?? "" }));
  }, [items.length]);

  const set = (name: Exclude<keyof JobForm, "changed">) => (event: { currentTarget: { value: string } }) => {
    const { value } = event.currentTarget;
    setForm((old) => ({ ...old, [name]: value }));
  };
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      onDone(await api.createJob(jobRequest(form, fields), key));
    } catch (error) {
      setFailure(error as Error);
      // What is sent next is another request, and needs another key.
      setKey(crypto.randomUUID());
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
  if (schema.error && !schema.value) return <ErrorNotice error={schema.error} what="The form's fields could not be loaded." />;
  if (!schema.value || !pairings.value) return <Skeleton height={260} />;

  const faults = failure instanceof api.ApiError ? failure.errors : [];
  const faultOf = (name: string) => faults.find(({ pointer }) => pointer === `/${name}`)?.detail;
  const input = (field: FormField) => {
    const fault = faultOf(field.name);
    const value = form.changed[field.name] ?? field.initial;
    const onInput = (event: { currentTarget: { value: string } }) => {
      const text = event.currentTarget.value;
      setForm((old) => ({ ...old, changed: { ...old.changed, [field.name]: text } }));
    };
    return (
      <label key={field.name} class="field">
        <span class="field-name">{humanize(field.name)}</span>
        {field.kind === "choice" ? (
          <select class="select" value={value} onChange={onInput}>
            {field.options.map((option) => (
              <option key={option} value={option}>
                {option}
              </option>
            ))}
          </select>
        ) : (
          <input
            class="input tabular"
            inputMode={field.kind === "integer" ? "numeric" : field.kind === "number" ? "decimal" : "text"}
            value={value}
            placeholder={field.initial === "" ? "as the service chooses" : field.initial}
            aria-invalid={fault ? true : undefined}
            onInput={onInput}
          />
        )}
        <small class={fault ? "field-fault" : ""}>{fault ?? field.help}</small>
      </label>
    );
  };
  const named = (names: string[]) => names.flatMap((name) => fields.find((field) => field.name === name) ?? []);

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
          <small class={faultOf("pairing_id") ? "field-fault" : ""}>{faultOf("pairing_id") ?? "what winners and losers it learns from"}</small>
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
            {TRAINABLES.map(({ name, label }) => (
              <option key={name} value={name}>
                {label}
              </option>
            ))}
          </select>
          <small>{TRAINABLES.find(({ name }) => name === form.trainable)?.help}</small>
        </label>
        {form.trainable.endsWith("lora") && (
          <label class="field">
            <span>Rank</span>
            <input class="input tabular" inputMode="numeric" value={form.rank} onInput={set("rank")} required />
            <small>of the adapter</small>
          </label>
        )}
        {named(FIRST).map(input)}
      </div>
      <details>
        <summary class="link">All settings ({fields.length - FIRST.length} more, each with the service's default)</summary>
        <div class="form-grid all-settings">{fields.filter(({ name }) => !FIRST.includes(name)).map(input)}</div>
      </details>
      {form.pairing && <JobCost request={jobRequest(form, fields)} />}
      {failure && <ErrorNotice error={failure} what="The job was not accepted." />}
      <div class="row">
        <button type="submit" class="button button-primary" disabled={busy || !form.pairing}>
          <Icon name="play" /> Start training
        </button>
      </div>
    </form>
  );
}
