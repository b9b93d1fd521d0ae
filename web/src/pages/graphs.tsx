/** The graph browser: cards with the graph, its four candidates and their scores; filters in the address. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { useAddress } from "../address";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { CandidateSummary, GraphSummary } from "../api/types";
import { Bar, Empty, ErrorNotice, Picture, Segmented, Sentinel, Skeleton } from "../components/basics";
import { GraphThumbnail } from "../components/graph-view";
import { Icon } from "../components/icon";
import { formatCount, formatScore, humanize, metricLabel } from "../format";
import { usePageTitle } from "../page-title";
import { bestAndWorst } from "../ranking";

const PAGE_SIZE = 24;
const FILTERS = ["label", "attribute", "relation"] as const;
const METRICS = ["dpg", "attribute", "spatial", "three_in_one"];

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

export function GraphCard({ graph, metric = "dpg" }: { graph: GraphSummary; metric?: string }) {
  return (
    <Link href={`/graphs/${graph.id}`} class="graph-card" aria-label={`Graph: ${graph.caption || graph.img_id}`}>
      <div class="graph-card-head">
        <span class="clamp-2 graph-card-caption">{graph.caption || graph.img_id}</span>
        {graph.split === "held_out" && <span class="chip">held out</span>}
      </div>
      <GraphThumbnail objects={graph.objects} relations={graph.relations} />
      {graph.candidates.length > 0 ? (
        <CandidateStrip candidates={graph.candidates} metric={metric} />
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

function Facet({
  name,
  counts,
  value,
  onChange,
}: {
  name: string;
  counts: Record<string, number>;
  value: string | undefined;
  onChange: (value: string | null) => void;
}) {
  const [all, setAll] = useState(false);
  const entries = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  const shown = all ? entries : entries.slice(0, 8);
  if (value && !shown.some(([key]) => key === value)) shown.push([value, counts[value] ?? 0]);
  const highest = Math.max(1, ...entries.map(([, count]) => count));
  if (entries.length === 0 && !value) return null;
  return (
    <fieldset class="facet">
      <legend>{humanize(name)}</legend>
      {shown.map(([key, count]) => (
        <button key={key} type="button" class="facet-row" aria-pressed={value === key} onClick={() => onChange(value === key ? null : key)}>
          <i style={{ width: `${(count / highest) * 100}%` }} />
          <span class="truncate">{humanize(key)}</span>
          <span class="tabular faint">{formatCount(count)}</span>
        </button>
      ))}
      {entries.length > 8 && (
        <button type="button" class="button button-quiet button-small" onClick={() => setAll(!all)}>
          {all ? "Fewer" : `All ${entries.length}`}
        </button>
      )}
    </fieldset>
  );
}

interface Loaded {
  key: string;
  items: GraphSummary[];
  cursor: string | null;
  busy: boolean;
  error?: Error;
}

export function GraphsPage() {
  usePageTitle("Graphs");
  const [address, change] = useAddress();
  const metric = address.metric ?? "dpg";
  const query: api.GraphQuery = {
    split: address.split,
    label: address.label,
    attribute: address.attribute,
    relation: address.relation,
    text: address.text,
    sort: address.sort,
    // Says which score the order goes by; without an order it would only split the browser's cache.
    metric: address.sort && metric !== "dpg" ? metric : undefined,
    limit: PAGE_SIZE,
  };
  const key = JSON.stringify(query);
  const first = useResource(`graphs/${key}`, (signal) => api.listGraphs(query, signal), { keep: true });
  const [more, setMore] = useState<Loaded>({ key: "", items: [], cursor: null, busy: false });

  useEffect(() => {
    if (first.value && !first.loading) setMore({ key, items: [], cursor: first.value.next_cursor ?? null, busy: false });
  }, [first.value, first.loading]);

  const loadMore = useCallback(() => {
    if (more.key !== key || !more.cursor || more.busy) return;
    setMore({ ...more, busy: true });
    api.listGraphs({ ...query, cursor: more.cursor, facets: false }).then(
      (page) =>
        setMore((old) =>
          old.key === key ? { key, items: [...old.items, ...page.items], cursor: page.next_cursor ?? null, busy: false } : old,
        ),
      (error: Error) => setMore((old) => ({ ...old, busy: false, cursor: null, error })),
    );
  }, [more, key]);

  const items = [...(first.value?.items ?? []), ...(more.key === key ? more.items : [])];
  const facets = first.value?.facets ?? {};
  const active = [...FILTERS, "split" as const, "text" as const].filter((name) => address[name]);

  return (
    <>
      <div class="page-head">
        <div>
          <h1>Graphs</h1>
          <p>Each scene graph with its candidates. The best candidate is framed green, the worst red.</p>
        </div>
        <div class="row row-wrap">
          <Segmented
            label="Score shown"
            value={metric}
            onChange={(value) => change({ metric: value === "dpg" ? null : value })}
            options={METRICS.map((name) => ({ value: name, label: metricLabel(name) }))}
          />
          <input
            type="search"
            class="input graph-search"
            placeholder="Search captions"
            aria-label="Search captions"
            value={address.text ?? ""}
            onInput={(event) => change({ text: event.currentTarget.value })}
          />
          <select
            class="select graph-sort"
            aria-label="Sort"
            value={address.sort ?? ""}
            onChange={(event) => change({ sort: event.currentTarget.value }, true)}
          >
            <option value="">Oldest first</option>
            <option value="newest">Newest first</option>
            <option value="spread">Widest spread first</option>
            <option value="best_score">Best candidate first</option>
            <option value="worst_score">Worst candidate first</option>
          </select>
        </div>
      </div>
      <div class="browser">
        <aside class="facets" aria-label="Filters">
          <Facet name="split" counts={facets.split ?? {}} value={address.split} onChange={(value) => change({ split: value }, true)} />
          {FILTERS.map((name) => (
            <Facet key={name} name={name} counts={facets[name] ?? {}} value={address[name]} onChange={(value) => change({ [name]: value }, true)} />
          ))}
        </aside>
        <div class="stack grow">
          <div class="row row-wrap browser-count" aria-live="polite">
            <span class="quiet tabular">
              {first.value ? `${formatCount(first.value.total ?? items.length)} graphs` : "Loading graphs"}
            </span>
            {active.map((name) => (
              <span key={name} class="chip chip-accent">
                {name === "split" ? "" : `${name}: `}
                {humanize(address[name] ?? "")}
                <button type="button" aria-label={`Remove the filter ${name}`} onClick={() => change({ [name]: null }, true)}>
                  <Icon name="cross" size={12} />
                </button>
              </span>
            ))}
          </div>
          {first.error && <ErrorNotice error={first.error} what="The graphs could not be listed." />}
          {first.value && items.length === 0 && (
            <Empty icon="graphs" title={active.length > 0 ? "No graph fits these filters" : "No graphs yet"}>
              {active.length > 0 ? (
                <button type="button" class="button" onClick={() => change({ split: null, label: null, attribute: null, relation: null, text: null }, true)}>
                  Remove the filters
                </button>
              ) : (
                <>
                  <p>Import a LAION-SG file to begin, or run the demo.</p>
                  <Link href="/imports" class="button button-primary">
                    Import a file
                  </Link>
                </>
              )}
            </Empty>
          )}
          <div class={`card-grid ${first.loading && first.value ? "stale" : ""}`}>
            {!first.value && !first.error && Array.from({ length: 12 }, (_, i) => <Skeleton key={i} height={310} />)}
            {items.map((graph) => (
              <GraphCard key={graph.id} graph={graph} metric={metric} />
            ))}
          </div>
          {more.error && <ErrorNotice error={more.error} what="The next graphs could not be loaded." />}
          {more.key === key && more.cursor && <Sentinel onReach={loadMore} busy={more.busy} />}
        </div>
      </div>
    </>
  );
}
