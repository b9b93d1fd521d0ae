/** One graph: drawn, asked about, answered; hovering any part lights up what belongs to it. */
import { useMemo, useRef, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import * as api from "../api/client";
import { useAddress } from "../address";
import { useResource } from "../api/resource";
import type { Candidate, SceneObject } from "../api/types";
import { Bar, Empty, ErrorNotice, Panel, Picture, Segmented, Skeleton } from "../components/basics";
import { DetectionBoxes } from "../components/detection-boxes";
import { GraphCuration } from "../components/graph-curation";
import { GraphDocument } from "../components/graph-document";
import { GraphView } from "../components/graph-view";
import { Icon } from "../components/icon";
import { InversionView } from "../components/inversion";
import { MakeAgain } from "../components/make-again";
import { QuestionMatrix } from "../components/question-matrix";
import { Table } from "../components/table";
import { formatScore, formatScore3, humanize, metricLabel, shortHash } from "../format";
import { graphTitle } from "../graph-words";
import { usePageTitle } from "../page-title";
import { litBy, readTarget, type Focus, type Lit } from "../question-tree";
import { bestAndWorst } from "../ranking";

const METRICS = ["dpg", "attribute", "spatial", "three_in_one"];

function CandidateCard({
  candidate,
  tone,
  objects,
  lit,
  onFocus,
  onPaths,
}: {
  candidate: Candidate;
  tone: "winner" | "loser" | undefined;
  objects: SceneObject[];
  lit: Lit | null;
  onFocus: (focus: Focus | null) => void;
  /** Shows its sampling path and inversion; not there for pictures from elsewhere. */
  onPaths: (() => void) | undefined;
}) {
  const [open, setOpen] = useState(false);
  const { generation } = candidate;
  const answerer = candidate.answers.find((answer) => answer.answerer);
  return (
    <article class="candidate" aria-label={`Candidate ${candidate.index + 1}`}>
      <div class="candidate-picture">
        <Picture
          src={candidate.image_url}
          alt={`Candidate ${candidate.index + 1}`}
          tone={tone}
          lazy={false}
          badge={<span class={`badge ${tone ?? ""}`}>{tone ? (tone === "winner" ? "best" : "worst") : `#${candidate.index + 1}`}</span>}
        />
        <DetectionBoxes detections={candidate.detections} objects={objects} lit={lit} onFocus={onFocus} />
      </div>
      <dl class="score-list">
        {METRICS.filter((name) => candidate.scores?.[name] != null).map((name) => (
          <div key={name} class="score-row">
            <dt>{metricLabel(name)}</dt>
            <dd>
              <Bar value={candidate.scores?.[name]} tone={name === "dpg" ? (tone ?? "accent") : "base"} />
              <span class="tabular">{formatScore(candidate.scores?.[name])}</span>
            </dd>
          </div>
        ))}
        {!candidate.scores && <span class="faint small">not scored yet</span>}
      </dl>
      <div class="row row-wrap">
        <button type="button" class="button button-quiet button-small provenance-toggle" aria-expanded={open} onClick={() => setOpen(!open)}>
          <Icon name={open ? "down" : "right"} size={12} /> Provenance
        </button>
        {onPaths && (
          <button type="button" class="button button-quiet button-small provenance-toggle" title="Its sampling path against its inversion" onClick={onPaths}>
            <Icon name="jobs" size={12} /> Paths
          </button>
        )}
      </div>
      {open && (
        <dl class="facts">
          <dt>Seed</dt>
          <dd class="mono">{String(candidate.seed)}</dd>
          <dt>Model</dt>
          <dd class="mono" title={generation?.model_hash}>
            {shortHash(generation?.model_hash, 12)}
          </dd>
          <dt>Sampler</dt>
          <dd>
            {generation?.sampler}, {generation?.num_inference_steps} steps
          </dd>
          <dt>Guidance</dt>
          <dd>{generation?.guidance_scale}</dd>
          {answerer && (
            <>
              <dt>Answered by</dt>
              <dd>
                {answerer.answerer} {answerer.answerer_version ?? ""}
              </dd>
            </>
          )}
        </dl>
      )}
    </article>
  );
}

/** Who answered, where anybody did. */
function answeredBy(candidates: Candidate[]): string {
  const answer = candidates.flatMap(({ answers }) => answers)[0];
  return answer ? `answered by ${answer.answerer} ${answer.answerer_version}; ` : "";
}

export function GraphPage({ id }: { id: string }) {
  const graph = useResource(`graph/${id}`, (signal) => api.getGraph(id, signal));
  const candidates = useResource(`graph/${id}/candidates`, (signal) => api.listCandidates(id, signal), {
    // A graph whose candidates are still being made or scored fills while one looks at it.
    poll: (page) => (page?.items.length && page.items.every((candidate) => candidate.scores) ? null : 2500),
  });
  const [focus, setFocus] = useState<Focus | null>(null);
  const [address, change] = useAddress();
  usePageTitle(graph.value ? graphTitle(graph.value) : "Graph");

  const value = graph.value;
  // One generation's at a time: scores of different seeds and steps side by side would be compared by mistake.
  const every = candidates.value?.items ?? [];
  const generations = [...new Set(every.map(({ generation }) => generation.id))];
  const generation = address.generation && generations.includes(address.generation) ? address.generation : generations[0];
  const items = useMemo(() => every.filter((candidate) => candidate.generation.id === generation), [candidates.value, generation]);
  const lit = useMemo(
    () => (focus && value ? litBy(focus, value.questions, value.relations, value.objects) : null),
    [focus, value],
  );
  const ranking = bestAndWorst(items, "dpg");
  // A picture from elsewhere has no sampling path to compare with.
  const sampledHere = items.filter((candidate) => candidate.generation.sampler === "ddim");
  const inverted = sampledHere.find((candidate) => candidate.id === address.inversion) ?? sampledHere[0];
  const inversionPanel = useRef<HTMLDivElement>(null);
  const focused = useMemo(() => {
    if (!value || !lit) return null;
    const ids = [...lit.questions];
    return value.questions.filter((question) => ids.includes(question.question_id));
  }, [value, lit]);

  if (graph.error && !value) {
    return (
      <>
        <ErrorNotice error={graph.error} what="This graph could not be shown." />
        <Link href="/graphs" class="link">
          To all graphs
        </Link>
      </>
    );
  }
  // Nothing is drawn before all that decides where things stand is there, so nothing jumps.
  if (!value || !(candidates.value || candidates.error)) return <Skeleton height="75vh" />;
  const height = value.objects.length > 10 ? 560 : 400;

  return (
    <>
      <div class="page-head">
        <div class="grow">
          <Link href="/graphs" class="crumb">
            <Icon name="left" size={12} /> Graphs
          </Link>
          <h1>{value ? graphTitle(value) : <Skeleton height={24} width={360} />}</h1>
          {value && (
            <p class="row row-wrap small">
              <span class="mono">{value.img_id}</span>
              <span class="chip">{humanize(value.split)}</span>
              <span>
                {value.num_objects} {value.num_objects === 1 ? "object" : "objects"}, {value.num_relations}{" "}
                {value.num_relations === 1 ? "relation" : "relations"}, {value.questions.length} questions
              </span>
            </p>
          )}
          {value && !value.is_current && (
            <p class="small">
              <span class="chip chip-warn">A later revision has taken its place.</span>
            </p>
          )}
          {value && <GraphCuration graph={value} onChange={graph.reload} />}
        </div>
      </div>

      <div class={`graph-layout ${value && value.objects.length > 8 ? "wide" : ""}`}>
        <div class="stack">
          <Panel
            title="Scene graph"
            flush
            extra={<span class="small faint">hover or tab to a part; drag to move, Ctrl + wheel to zoom</span>}
            label="Scene graph"
          >
            {value ? (
              <GraphView objects={value.objects} relations={value.relations} lit={lit} onFocus={setFocus} height={height} />
            ) : (
              <Skeleton height={height} />
            )}
          </Panel>
          <Panel
            title="Questions and answers"
            extra={
              <span class="small faint truncate" aria-live="polite">
                {focused && focused.length > 0 ? focused.map((question) => question.text).slice(0, 2).join("  ") : `${answeredBy(items)}a child counts only where its parent holds`}
              </span>
            }
            flush
            label="Questions and answers"
          >
            {value ? (
              value.questions.length > 0 ? (
                <QuestionMatrix
                  questions={value.questions}
                  candidates={items}
                  best={ranking.best}
                  worst={ranking.worst}
                  lit={lit}
                  onFocus={setFocus}
                />
              ) : (
                <Empty icon="question" title="No questions yet">
                  <p>They are derived from the graph when its candidates are scored.</p>
                </Empty>
              )
            ) : (
              <Skeleton height={220} />
            )}
          </Panel>
        </div>
        <div class="stack">
        <Panel
          title="Candidates"
          label="Candidates"
          extra={
            generations.length > 1 ? (
              <select
                class="select generation-select"
                aria-label="Generation shown"
                value={generation}
                onChange={(event) => change({ generation: event.currentTarget.value === generations[0] ? null : event.currentTarget.value }, true)}
              >
                {generations.map((one, place) => {
                  const facts = every.find((candidate) => candidate.generation.id === one)?.generation;
                  return (
                    <option key={one} value={one}>
                      {place === 0 ? "newest" : `generation ${generations.length - place}`}: {facts?.num_inference_steps} steps, guidance {facts?.guidance_scale}
                    </option>
                  );
                })}
              </select>
            ) : undefined
          }
        >
          {candidates.error && !candidates.value && <ErrorNotice error={candidates.error} what="The candidates could not be loaded." />}
          {candidates.value && items.length === 0 ? (
            <Empty icon="pairs" title="No candidates yet">
              <p>Generate four below: they are made, answered and scored while you wait.</p>
            </Empty>
          ) : (
            <div class="candidate-grid">
              {!candidates.value && !candidates.error && [0, 1, 2, 3].map((index) => <Skeleton key={index} height={260} />)}
              {items.map((candidate) => (
                <CandidateCard
                  key={candidate.id}
                  candidate={candidate}
                  tone={candidate.id === ranking.best ? "winner" : candidate.id === ranking.worst ? "loser" : undefined}
                  objects={value?.objects ?? []}
                  lit={lit}
                  onFocus={setFocus}
                  onPaths={
                    candidate.generation.sampler === "ddim"
                      ? () => {
                          change({ inversion: candidate.id });
                          inversionPanel.current?.scrollIntoView({ block: "start" });
                        }
                      : undefined
                  }
                />
              ))}
            </div>
          )}
        </Panel>
        {candidates.value && (
          <MakeAgain key={id} graph={id} shown={items} onDone={candidates.reload} />
        )}
        </div>
      </div>

      {inverted && (
        <div ref={inversionPanel}>
          <Panel
            title="Inversion against sampling"
            label="Inversion against sampling"
            extra={
              <Segmented
                label="Candidate whose paths are compared"
                value={inverted.id}
                options={sampledHere.map(({ id, index }) => ({ value: id, label: `#${index + 1}` }))}
                onChange={(chosen) => change({ inversion: chosen })}
              />
            }
          >
            <InversionView key={inverted.id} candidate={inverted.id} />
          </Panel>
        </div>
      )}

      {value && (
        <div class="graph-layout even">
          <Panel title="Objects" flush label="Objects">
            <Table columns={["Object", "Attributes", { number: "Kept" }]}>
              {value.objects.map((object) => (
                <tr
                  key={object.position}
                  class={lit?.objects.has(object.position) ? "lit" : ""}
                  onPointerEnter={() => setFocus({ object: object.position })}
                  onPointerLeave={() => setFocus(null)}
                >
                  <td>{object.label}</td>
                  <td class="quiet">{object.attributes.join(", ") || "–"}</td>
                  <td class="number">{objectShare(object.position, value.questions, items)}</td>
                </tr>
              ))}
            </Table>
          </Panel>
          <div class="stack">
            {value.lint.length > 0 && (
              <Panel title="Findings" label="Findings">
                <ul class="stack stack-s">
                  {value.lint.map((finding) => (
                    <li key={`${finding.code}${finding.pointer}`} class="row">
                      <span class={`chip ${finding.severity === "error" ? "chip-loser" : "chip-warn"}`}>{finding.severity}</span>
                      <span>
                        {finding.message} <code class="faint">{finding.pointer}</code>
                      </span>
                    </li>
                  ))}
                </ul>
              </Panel>
            )}
            <GraphDocument key={value.id} graph={value} />
          </div>
        </div>
      )}
    </>
  );
}

/** Share of the questions about an object that were answered yes, over all candidates. */
function objectShare(position: number, questions: { question_id: number; target: unknown }[], candidates: Candidate[]): string {
  const ids = new Set(
    questions
      .filter((question) => {
        const target = readTarget(question.target);
        return target !== null && target.kind !== "relation" && target.object === position;
      })
      .map((question) => question.question_id),
  );
  const answers = candidates.flatMap((candidate) => candidate.answers.filter((answer) => ids.has(answer.question_id)));
  if (answers.length === 0) return "–";
  return formatScore3(answers.filter((answer) => answer.answer === "yes").length / answers.length);
}
