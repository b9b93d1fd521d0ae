/** Which candidate of a graph is the best and which the worst. */
import type { CandidateSummary } from "./api/types";

/** Neither where all score alike, or fewer than two have a score. */
export function bestAndWorst(candidates: CandidateSummary[], metric: string): { best?: string; worst?: string } {
  const scored = candidates
    .map(({ id, scores }) => ({ id, score: scores?.[metric] }))
    .filter((entry): entry is { id: string; score: number } => entry.score != null);
  const [first] = scored;
  if (!first || scored.length < 2) return {};
  let best = first;
  let worst = first;
  for (const entry of scored) {
    if (entry.score > best.score) best = entry;
    if (entry.score < worst.score) worst = entry;
  }
  return best.score === worst.score ? {} : { best: best.id, worst: worst.id };
}
