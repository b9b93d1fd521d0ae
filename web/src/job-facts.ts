/** What several pages say of a job. */
import type { Job, MetricPoint } from "./api/types";
import { formatNumber, objectiveLabel } from "./format";

export const CURVES: { name: keyof MetricPoint & string; label: string; reference?: number; tone: string }[] = [
  { name: "loss", label: "Loss", reference: Math.LN2, tone: "accent" },
  { name: "implicit_reward_margin", label: "Implicit reward margin", reference: 0, tone: "winner" },
  { name: "pair_accuracy", label: "Pair accuracy", reference: 0.5, tone: "entity" },
  { name: "grad_norm", label: "Gradient norm", tone: "attribute" },
  { name: "drift", label: "Drift from the reference", reference: 0, tone: "relation" },
  { name: "seconds", label: "Seconds a step", tone: "base" },
];

export const jobTitle = (job: Job): string => objectiveLabel(job.spec?.objective?.name);

export const secondsOf = (job: Job): number | null =>
  job.started_at ? ((job.finished_at ? Date.parse(job.finished_at) : Date.now()) - Date.parse(job.started_at)) / 1000 : null;

/** A job's settings, one a row, what is nested by its path. */
export function specRows(spec: Record<string, unknown>, prefix = ""): [string, string][] {
  return Object.entries(spec).flatMap(([name, value]): [string, string][] => {
    if (value === null || value === undefined) return [];
    if (typeof value === "object" && !Array.isArray(value)) return specRows(value as Record<string, unknown>, `${prefix}${name}.`);
    return [[`${prefix}${name}`, typeof value === "number" ? formatNumber(value) : String(value)]];
  });
}
