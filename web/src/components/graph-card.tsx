/** A scene graph on a card: drawn small, its candidates with their scores, the best and the worst marked. */
import { Link } from "wouter-preact";
import type { CandidateSummary, GraphSummary } from "../api/types";
import { formatScore } from "../format";
import { graphTitle } from "../graph-words";
import { bestAndWorst } from "../ranking";
import { Bar, Picture } from "./basics";
import { GraphThumbnail, layoutOnCard } from "./graph-view";

export function CandidateStrip({ candidates, metric }: { candidates: CandidateSummary[]; metric: string }) {
  const { best, worst } = bestAndWorst(candidates, metric);
  return (
    <div class="strip">
      {candidates.map((candidate) => {
        const tone = candidate.id === best ? "winner" : candidate.id === worst ? "loser" : undefined;
        const score = candidate.scores?.[metric];
        return (
          <div key={candidate.id} class="strip-item">
            <Picture src={candidate.image_url} alt={`Candidate ${candidate.index + 1}, score ${formatScore(score)}`} tone={tone} />
            <Bar value={score} tone={tone ?? "base"} />
            <span class={`tabular strip-score ${tone ?? ""}`}>{formatScore(score)}</span>
          </div>
        );
      })}
    </div>
  );
}

/** Padding and border, the head, the drawing, the gaps between: what of a card does not depend on its width. */
const FIXED = 26 + 40 + 10 + 136 + 10;
/** Under a picture: gap, bar, gap, score. */
const UNDER_PICTURE = 6 + 4 + 6 + 12;

/** The height of a card of four candidates at a width, in pixels: the same for all, so that none has to be measured. */
export const cardHeight = (width: number): number => FIXED + (width - 26 - 3 * 8) / 4 + UNDER_PICTURE;

/** Past four the card shows those that matter: the four from the best and the worst on, in their order. */
function shownOf(candidates: CandidateSummary[], metric: string): CandidateSummary[] {
  if (candidates.length <= 4) return candidates;
  const { best, worst } = bestAndWorst(candidates, metric);
  const marked = candidates.filter(({ id }) => id === best || id === worst);
  const others = candidates.filter((candidate) => !marked.includes(candidate)).slice(0, 4 - marked.length);
  return candidates.filter((candidate) => marked.includes(candidate) || others.includes(candidate));
}

/** Lays out the graphs of cards that are still to come while nothing else is to do; returns what stops it. */
export function layoutAhead(graphs: GraphSummary[]): () => void {
  let next = 0;
  let waiting = 0;
  const some = (deadline: IdleDeadline) => {
    for (; next < graphs.length && deadline.timeRemaining() > 4; next += 1) {
      const graph = graphs[next];
      if (graph) layoutOnCard(graph.objects, graph.relations);
    }
    if (next < graphs.length) waiting = requestIdleCallback(some);
  };
  // Safari has no idle time to give: there each card is laid out when it comes.
  if ("requestIdleCallback" in window) waiting = requestIdleCallback(some);
  return () => waiting && cancelIdleCallback(waiting);
}

export function GraphCard({
  graph,
  metric = "dpg",
  tabIndex,
  selected,
}: {
  graph: GraphSummary;
  metric?: string;
  tabIndex?: 0 | -1;
  selected?: boolean;
}) {
  return (
    <Link
      href={`/graphs/${graph.id}`}
      class={`graph-card ${selected ? "selected" : ""}`}
      aria-label={`Graph: ${graphTitle(graph)}`}
      data-card
      {...(tabIndex === undefined ? {} : { tabIndex })}
    >
      <div class="graph-card-head">
        <span class="clamp-2 graph-card-caption">{graphTitle(graph)}</span>
        {graph.split === "held_out" && <span class="chip">held out</span>}
      </div>
      <div class="graph-card-drawing">
        <GraphThumbnail objects={graph.objects} relations={graph.relations} />
        {graph.tags.length > 0 && (
          <div class="graph-card-tags">
            {graph.tags.slice(0, 3).map((tag) => (
              <span key={tag} class="chip chip-accent truncate">
                {tag}
              </span>
            ))}
            {graph.tags.length > 3 && <span class="chip">+{graph.tags.length - 3}</span>}
          </div>
        )}
      </div>
      {graph.candidates.length > 0 ? (
        <CandidateStrip candidates={shownOf(graph.candidates, metric)} metric={metric} />
      ) : (
        <div class="strip">
          {[0, 1, 2, 3].map((index) => (
            <div key={index} class="strip-item">
              <div class="picture picture-none" />
            </div>
          ))}
        </div>
      )}
    </Link>
  );
}
