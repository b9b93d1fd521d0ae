/** A frozen pairing: its pairs one by one, winner beside loser, what they differ in on top. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { useAddress } from "../address";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { AnswerValue, Candidate, GraphDetail, Pair, Policy } from "../api/types";
import { Empty, ErrorNotice, Panel, Picture, Sentinel, Skeleton } from "../components/basics";
import { GraphView } from "../components/graph-view";
import { Icon } from "../components/icon";
import { AnswerMark, QuestionMatrix } from "../components/question-matrix";
import { formatAgo, formatCount, formatScore, humanize, metricLabel, shortHash } from "../format";
import { usePageTitle } from "../page-title";
import { litBy, type Focus } from "../question-tree";
import { PairTile } from "./pairs";

function describePolicy(policy: Policy | undefined): string {
  if (!policy) return "";
  const weights = Object.entries(policy.weights ?? {})
    .filter(([, weight]) => weight > 0)
    .map(([metric, weight]) => `${metricLabel(metric)} × ${weight}`)
    .join(" + ");
  const select = typeof policy.select === "string" ? policy.select : Object.keys(policy.select as object)[0];
  return `${humanize(select ?? "")}, margin ≥ ${policy.margin}, ${weights}`;
}

function PairDetail({ pair, number, total, go }: { pair: Pair; number: number; total: number; go: (step: number) => void }) {
  const graph = useResource(`graph/${pair.graph_id}`, (signal) => api.getGraph(pair.graph_id, signal), { keep: true });
  const candidates = useResource(`graph/${pair.graph_id}/candidates`, (signal) => api.listCandidates(pair.graph_id, signal), { keep: true });
  const [focus, setFocus] = useState<Focus | null>(null);
  const value: GraphDetail | undefined = graph.value?.id === pair.graph_id ? graph.value : undefined;
  const lit = useMemo(() => (focus && value ? litBy(focus, value.questions, value.relations) : null), [focus, value]);
  const sides = [pair.winner.id, pair.loser.id]
    .map((id) => candidates.value?.items.find((candidate) => candidate.id === id))
    .filter((candidate): candidate is Candidate => candidate !== undefined);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
      if (event.key === "ArrowLeft" || event.key === "k") go(-1);
      if (event.key === "ArrowRight" || event.key === "j") go(1);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [go]);

  return (
    <section class="stack" aria-label="Pair" data-testid="pair-view">
      <div class="row spread row-wrap">
        <h2 class="grow truncate">
          <Link href={`/graphs/${pair.graph_id}`} class="link">
            {value?.caption || pair.caption || "Graph"}
          </Link>
        </h2>
        <div class="row">
          <span class="tabular quiet small">
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
      <div class="pair">
        {(["winner", "loser"] as const).map((side) => (
          <figure key={side} class="pair-side">
            <figcaption class="row spread">
              <span class={`chip chip-${side}`}>{side}</span>
              <span class="tabular pair-score">{formatScore(pair[side].score)}</span>
            </figcaption>
            <Picture src={pair[side].image_url} alt={`The ${side}`} tone={side} lazy={false} />
          </figure>
        ))}
        <div class="pair-questions">
          <h3>
            They differ in {pair.differing_questions.length} {pair.differing_questions.length === 1 ? "question" : "questions"}
          </h3>
          <ul>
            {pair.differing_questions.map((question) => (
              <li
                key={question.question_id}
                class={lit?.questions.has(question.question_id) ? "lit" : ""}
                onPointerEnter={() => setFocus({ question: question.question_id })}
                onPointerLeave={() => setFocus(null)}
              >
                <AnswerMark verdict={question.winner as AnswerValue} />
                <AnswerMark verdict={question.loser as AnswerValue} />
                <span>{question.text}</span>
              </li>
            ))}
          </ul>
          <p class="small faint tabular">Margin {formatScore(pair.margin)}</p>
        </div>
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
          {value && sides.length === 2 ? (
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

export function PairingPage({ id }: { id: string }) {
  const pairing = useResource(`pairing/${id}`, (signal) => api.getPairing(id, signal));
  const [address, change] = useAddress();
  const [state, setState] = useState<{ items: Pair[]; cursor: string | null; busy: boolean; started: boolean; error?: Error }>({
    items: [],
    cursor: null,
    busy: false,
    started: false,
  });
  usePageTitle(pairing.value?.name ?? "Pairing");

  const load = (cursor: string | null) => {
    setState((old) => ({ ...old, busy: true, started: true }));
    api.listPairs(id, cursor).then(
      (page) => setState((old) => ({ items: [...old.items, ...page.items], cursor: page.next_cursor ?? null, busy: false, started: true })),
      (error: Error) => setState((old) => ({ ...old, busy: false, cursor: null, error })),
    );
  };
  useEffect(() => load(null), [id]);

  const position = address.pair === undefined ? null : Number(address.pair);
  const index = position === null ? -1 : state.items.findIndex((pair) => pair.position === position);
  const shown = state.items[index];
  // A pair further down than what is loaded: load on until it is there.
  useEffect(() => {
    if (position !== null && index < 0 && state.cursor && !state.busy) load(state.cursor);
  }, [position, index, state]);

  const go = (step: number) => {
    const next = state.items[index + step];
    if (next) change({ pair: String(next.position) });
    if (step > 0 && index + 3 > state.items.length && state.cursor && !state.busy) load(state.cursor);
  };
  const value = pairing.value;

  return (
    <>
      <div class="page-head">
        <div class="grow">
          {shown ? (
            <Link href={`/pairings/${id}`} class="crumb">
              <Icon name="left" size={12} /> All pairs of {value?.name ?? "this pairing"}
            </Link>
          ) : (
            <Link href="/pairs" class="crumb">
              <Icon name="left" size={12} /> Pairs
            </Link>
          )}
          <h1>{value ? value.name : <Skeleton height={24} width={260} />}</h1>
          {value && (
            <p class="row row-wrap small">
              <span class="tabular">{formatCount(value.num_pairs)} pairs</span>
              <span>{describePolicy(value.policy)}</span>
              <span class="mono faint" title={value.hash}>
                {shortHash(value.hash, 16)}
              </span>
              <span class="faint">frozen {formatAgo(value.created_at)}</span>
            </p>
          )}
        </div>
        <Link href={`/jobs?pairing=${id}`} class="button button-primary">
          <Icon name="play" /> Train on these
        </Link>
      </div>
      {pairing.error && !value && <ErrorNotice error={pairing.error} what="This pairing could not be shown." />}
      {state.error && <ErrorNotice error={state.error} what="Its pairs could not be loaded." />}
      {shown ? (
        <PairDetail pair={shown} number={index} total={value?.num_pairs ?? state.items.length} go={go} />
      ) : position !== null && (state.busy || !state.started) ? (
        <Skeleton height={420} />
      ) : state.started && !state.busy && state.items.length === 0 && !state.error ? (
        <Empty icon="pairs" title="This pairing has no pairs">
          <p>Its policy found none. Freeze another with a lower margin.</p>
        </Empty>
      ) : (
        <>
          <div class="diptych-grid">
            {state.items.length === 0 && Array.from({ length: 12 }, (_, i) => <Skeleton key={i} height={150} />)}
            {state.items.map((pair) => (
              <PairTile key={pair.position} pair={pair} href={`/pairings/${id}?pair=${pair.position}`} />
            ))}
          </div>
          {state.cursor && <Sentinel onReach={() => load(state.cursor)} busy={state.busy} />}
        </>
      )}
    </>
  );
}
