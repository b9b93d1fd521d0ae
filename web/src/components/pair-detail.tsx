/** One pair large: what the two differ in on top, zoomed together; blind, until one looks. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { AnswerValue, Candidate, GraphDetail, Pair } from "../api/types";
import { graphTitle } from "../graph-words";
import { formatCount, formatScore } from "../format";
import { litBy, type Focus } from "../question-tree";
import { Panel, Picture, Skeleton } from "./basics";
import { GraphView } from "./graph-view";
import { Icon } from "./icon";
import { AnswerMark, QuestionMatrix } from "./question-matrix";
import { useLinkedZoom, Zoomable, ZoomTools } from "./zoom";

type Side = "winner" | "loser";

/** Which side is on the left while one does not know: by lot, the same every time. */
export function blindOrder(pair: Pair): [Side, Side] {
  const [first, second] = [pair.winner.id, pair.loser.id].sort();
  let sum = 0;
  for (const letter of `${first}${second}`) sum = (sum * 31 + letter.charCodeAt(0)) >>> 0;
  const smallFirst = ((sum >>> 8) & 1) === 0;
  return smallFirst === (pair.winner.id === first) ? ["winner", "loser"] : ["loser", "winner"];
}

export function PairDetail({
  pair,
  number,
  total,
  blind,
  onBlind,
  go,
}: {
  pair: Pair;
  number: number;
  total: number;
  blind: boolean;
  onBlind: (blind: boolean) => void;
  go: (step: number) => void;
}) {
  const graph = useResource(`graph/${pair.graph_id}`, (signal) => api.getGraph(pair.graph_id, signal), { keep: true });
  const candidates = useResource(`graph/${pair.graph_id}/candidates`, (signal) => api.listCandidates(pair.graph_id, signal), { keep: true });
  const [focus, setFocus] = useState<Focus | null>(null);
  const key = `${pair.winner.id}/${pair.loser.id}`;
  const [revealed, setRevealed] = useState<string | null>(null);
  const hidden = blind && revealed !== key;
  const zoom = useLinkedZoom(key);
  const value: GraphDetail | undefined = graph.value?.id === pair.graph_id ? graph.value : undefined;
  const lit = useMemo(() => (focus && value ? litBy(focus, value.questions, value.relations, value.objects) : null), [focus, value]);
  const order = blind ? blindOrder(pair) : (["winner", "loser"] as const);
  const sides = order
    .map((side) => candidates.value?.items.find((candidate) => candidate.id === pair[side].id))
    .filter((candidate): candidate is Candidate => candidate !== undefined);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      // In the drawing of the graph the arrows move it.
      if (event.target instanceof Element && event.target.closest(".graph-frame")) return;
      if (event.key === "ArrowLeft" || event.key === "k") go(-1);
      else if (event.key === "ArrowRight" || event.key === "j") go(1);
      else if (event.key === "b") onBlind(!blind);
      else if (event.key === "r" && blind) setRevealed(key);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [go, blind, onBlind, key]);

  return (
    <section class="stack" aria-label="Pair" data-testid="pair-view">
      <div class="row spread row-wrap">
        <h2 class="grow truncate">
          <Link href={`/graphs/${pair.graph_id}`} class="link pair-caption">
            {pair.caption || (value && graphTitle(value)) || "Graph"}
          </Link>
        </h2>
        <div class="row row-wrap">
          <ZoomTools zoom={zoom} />
          <button type="button" class="button" aria-pressed={blind} title="Key B" onClick={() => onBlind(!blind)}>
            <Icon name={blind ? "hidden" : "eye"} /> Blind
          </button>
          <button type="button" class="button reveal" disabled={!hidden} title="Key R" onClick={() => setRevealed(key)}>
            Reveal
          </button>
          <span class="tabular quiet small nowrap">
            pair {formatCount(number + 1)} of {formatCount(total)}
          </span>
          <button type="button" class="button button-icon" aria-label="Previous pair" onClick={() => go(-1)}>
            <Icon name="left" />
          </button>
          <button type="button" class="button button-icon" aria-label="Next pair" onClick={() => go(1)}>
            <Icon name="right" />
          </button>
        </div>
      </div>
      <Panel
        title={`They differ in ${pair.differing_questions.length} ${pair.differing_questions.length === 1 ? "question" : "questions"}`}
        label="Questions on which they differ"
        extra={<span class="small faint tabular">{hidden ? "answers are hidden" : `margin ${formatScore(pair.margin)}`}</span>}
      >
        <ul class="pair-questions">
          {pair.differing_questions.map((question) => (
            <li key={question.question_id} class={lit?.questions.has(question.question_id) ? "lit" : ""}>
              <button
                type="button"
                class="pair-question"
                onPointerEnter={() => setFocus({ question: question.question_id })}
                onPointerLeave={() => setFocus(null)}
                onFocus={() => setFocus({ question: question.question_id })}
                onBlur={() => setFocus(null)}
              >
                {order.map((side) => (
                  <AnswerMark key={side} verdict={hidden ? "missing" : (question[side] as AnswerValue)} />
                ))}
                <span>{question.text}</span>
              </button>
            </li>
          ))}
        </ul>
      </Panel>
      <div class="pair">
        {order.map((side, index) => (
          <figure key={side} class="pair-side">
            <figcaption class="row spread">
              {hidden ? <span class="chip">{index === 0 ? "A" : "B"}</span> : <span class={`chip chip-${side}`}>{side}</span>}
              <span class="tabular pair-score">{hidden ? "?" : formatScore(pair[side].score)}</span>
            </figcaption>
            <Zoomable zoom={zoom}>
              <Picture
                src={pair[side].image_url}
                alt={hidden ? `Picture ${index === 0 ? "A" : "B"}` : `The ${side}`}
                tone={hidden ? undefined : side}
                lazy={false}
              />
            </Zoomable>
          </figure>
        ))}
      </div>
      <div class="graph-layout even">
        <Panel title="Scene graph" flush label="Scene graph">
          {value ? (
            <GraphView objects={value.objects} relations={value.relations} lit={lit} onFocus={setFocus} height={320} />
          ) : (
            <Skeleton height={320} />
          )}
        </Panel>
        <Panel title="All questions" flush label="All questions">
          {hidden ? (
            <p class="panel-body quiet small">The answers would tell which picture won. Reveal them when you have made up your mind.</p>
          ) : value && sides.length === 2 ? (
            <QuestionMatrix
              questions={value.questions}
              candidates={sides}
              best={pair.winner.id}
              worst={pair.loser.id}
              lit={lit}
              onFocus={setFocus}
            />
          ) : (
            <Skeleton height={320} />
          )}
        </Panel>
      </div>
    </section>
  );
}
