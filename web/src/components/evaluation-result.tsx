/** What an evaluation found: base against trained, by kind of question, picture by picture. */
import { useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { listEvaluationImages } from "../api/client";
import { useResource } from "../api/resource";
import type { Comparison, Evaluation, EvaluationResult, QuestionKind } from "../api/types";
import { formatCount, formatDelta, formatPercent, formatScore, formatScore3, humanize } from "../format";
import { Bar, Picture, Segmented } from "./basics";
import { type IntervalRow, Intervals } from "./interval";

const KINDS: QuestionKind[] = ["entity", "attribute", "relation"];

/** Without an interval the point stands alone. */
export const intervalRow = (name: string, { delta, delta_ci95 }: Comparison, tone: string): IntervalRow => ({
  name,
  delta,
  low: delta_ci95?.[0] ?? delta,
  high: delta_ci95?.[1] ?? delta,
  tone,
});

export function verdictOf(result: EvaluationResult): { text: string; tone: "winner" | "loser" | "warn" } {
  if (!result.delta_ci95) return { text: "Too few graphs to tell", tone: "warn" };
  const [low, high] = result.delta_ci95;
  if (low > 0) return { text: "Better than the base: the interval lies above zero", tone: "winner" };
  if (high < 0) return { text: "Worse than the base: the interval lies below zero", tone: "loser" };
  return { text: "No clear difference: the interval holds zero", tone: "warn" };
}

interface EvaluationFiguresProps {
  result: EvaluationResult;
  settings: Evaluation["settings"];
}

export function EvaluationFigures({ result, settings }: EvaluationFiguresProps) {
  const verdict = verdictOf(result);
  return (
    <div class="evaluation">
      <div class="evaluation-main">
        <div class="evaluation-scores">
          <div>
            <span class="figure-label">Base</span>
            <span class="figure tabular">{formatScore3(result.base_score)}</span>
          </div>
          <div>
            <span class="figure-label">Trained</span>
            <span class="figure tabular" style={{ color: "var(--trained)" }} data-testid="trained-score">
              {formatScore3(result.trained_score)}
            </span>
          </div>
          <div>
            <span class="figure-label">Difference</span>
            <span class="figure tabular" style={{ color: `var(--${verdict.tone})` }} data-testid="delta">
              {formatDelta(result.delta)}
            </span>
          </div>
        </div>
        <p class={`chip chip-${verdict.tone}`}>{verdict.text}</p>
        <p class="quiet small tabular">
          95 % interval {formatDelta(result.delta_ci95?.[0])} to {formatDelta(result.delta_ci95?.[1])} · standard error{" "}
          {formatScore3(result.delta_se)} · wins {formatPercent(result.win_rate)} · {formatCount(result.evaluated_graphs)} held-out graphs,{" "}
          {formatCount(result.evaluated_images)} images, the same seeds for both
        </p>
        <p class="quiet small tabular" data-testid="sampling">
          Both sampled at guidance scale {settings.guidance_scale} in {formatCount(settings.num_inference_steps)} steps
        </p>
      </div>
      <div class="evaluation-kinds">
        {KINDS.filter((kind) => result.by_kind[kind]).map((kind) => {
          const part = result.by_kind[kind];
          if (!part) return null;
          return (
            <div key={kind} class="kind-row">
              <span class="kind-name">{humanize(kind)}</span>
              <div class="kind-bars">
                <Bar value={part.base_score} tone="base" />
                <Bar value={part.trained_score} tone="trained" />
              </div>
              <span class="kind-values tabular small">
                <span class="faint">{formatScore3(part.base_score)}</span>
                <span>{formatScore3(part.trained_score)}</span>
              </span>
            </div>
          );
        })}
        <Intervals
          rows={[
            intervalRow("all", result, "trained"),
            ...KINDS.flatMap((kind) => {
              const part = result.by_kind[kind];
              return part ? [intervalRow(kind, part, kind)] : [];
            }),
          ]}
        />
      </div>
    </div>
  );
}

/** Takes the room of a pair of pictures, so that nothing moves when they come. */
function WaitingPair() {
  return (
    <div class="diptych" aria-hidden="true">
      <div class="diptych-pictures">
        <div class="picture skeleton" />
        <div class="picture skeleton" />
        <span class="under">&nbsp;</span>
        <span class="under">&nbsp;</span>
      </div>
      <div class="small">&nbsp;</div>
    </div>
  );
}

export function EvaluationImages({ evaluation, count = 12 }: { evaluation: Evaluation; count?: number }) {
  const [which, setWhich] = useState<"better" | "worse" | "all">("all");
  const images = useResource(`evaluation-images/${evaluation.id}/${evaluation.state}`, (signal) =>
    listEvaluationImages(evaluation.id, null, signal),
  );
  const items = [...(images.value?.items ?? [])];
  if (which === "better") items.sort((a, b) => b.trained.score - b.base.score - (a.trained.score - a.base.score));
  if (which === "worse") items.sort((a, b) => a.trained.score - a.base.score - (b.trained.score - b.base.score));
  return (
    <div class="stack stack-s evaluation-images">
      <div class="row spread row-wrap">
        <span class="quiet small">The same graph and the same noise, before and after training</span>
        <Segmented
          label="Which pictures"
          value={which}
          onChange={setWhich}
          options={[
            { value: "all", label: "As they come" },
            { value: "better", label: "Most gained" },
            { value: "worse", label: "Most lost" },
          ]}
        />
      </div>
      <div class="diptych-grid">
        {images.loading && !images.value && Array.from({ length: count }, (_, i) => <WaitingPair key={i} />)}
        {items.slice(0, count).map((item) => {
          const delta = item.trained.score - item.base.score;
          return (
            <Link key={`${item.graph_id}/${item.index}`} href={`/graphs/${item.graph_id}`} class="diptych">
              <div class="diptych-pictures">
                <Picture src={item.base.image_url} alt={`Base: ${item.caption ?? "held-out graph"}`} />
                <Picture src={item.trained.image_url} alt={`Trained: ${item.caption ?? "held-out graph"}`} />
                <span class="under">
                  base <b>{formatScore(item.base.score)}</b>
                </span>
                <span class="under">
                  trained{" "}
                  <b style={{ color: delta > 0 ? "var(--winner)" : delta < 0 ? "var(--loser)" : undefined }}>{formatScore(item.trained.score)}</b>
                </span>
              </div>
              {item.caption && <div class="small faint truncate">{item.caption}</div>}
            </Link>
          );
        })}
      </div>
    </div>
  );
}
