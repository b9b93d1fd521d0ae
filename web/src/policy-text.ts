/** A pairing policy in words. */
import type { Policy } from "./api/types";
import { humanize, metricLabel } from "./format";

export function describePolicy(policy: Policy | undefined): string {
  if (!policy) return "";
  const weights = Object.entries(policy.weights ?? {})
    .filter(([, weight]) => weight !== 0)
    .map(([metric, weight]) => `${metricLabel(metric)} × ${weight}`)
    .join(" + ");
  const select = typeof policy.select === "string" ? policy.select : Object.keys(policy.select ?? {})[0];
  const tie = policy.tie === "skip" ? ", no ties" : "";
  return `${humanize(select ?? "best_worst")}, margin ≥ ${policy.margin ?? 0}, ${weights}${tie}`;
}
