/** The graph browser: all graphs in one long grid, narrowed by what is in them and how they score; all of it in the address. */
import { useEffect, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { useAddress } from "../address";
import * as api from "../api/client";
import { listCollections, type WhichGraphs } from "../api/curation";
import { useGraphList } from "../api/graph-list";
import { useResource } from "../api/resource";
import { Empty, ErrorNotice, Skeleton } from "../components/basics";
import { BulkBar } from "../components/bulk-bar";
import { Facet } from "../components/facet";
import { cardHeight, GraphCard, layoutAhead } from "../components/graph-card";
import { GraphSearch } from "../components/graph-search";
import { Icon } from "../components/icon";
import { SavedViews } from "../components/saved-views";
import { ScoreFacet } from "../components/score-facet";
import { Unchanged } from "../components/unchanged";
import { VirtualGrid } from "../components/virtual-grid";
import { formatCount, formatScore, humanize, metricLabel } from "../format";
import { graphTitle } from "../graph-words";
import { usePageTitle } from "../page-title";

const WORDS = ["label", "attribute", "relation"] as const;
/** What narrows the list, as the address and the API name it. */
const CONDITIONS = ["split", ...WORDS, "tag", "collection_id", "lint", "text", "phrase", "pattern", "min_score", "max_score"] as const;
/** Least width of a card, in pixels. */
const CARD = 264;
/** Graphs that are fetched beyond those near the window. */
const AHEAD = 60;

/** What the list is of, as the API is asked. */
function queryOf(address: Record<string, string>): api.GraphQuery {
  const has = (name: string) => Boolean(address[name]);
  const byScore = has("sort") || has("min_score") || has("max_score");
  return {
    ...Object.fromEntries(CONDITIONS.map((name) => [name, address[name]])),
    sort: address.sort,
    // They say which score is meant; without a use they would only make another list of the same.
    metric: byScore ? address.metric : undefined,
    kind: has("min_score") || has("max_score") ? address.kind : undefined,
  };
}

const CLEAR = Object.fromEntries([...CONDITIONS, "kind"].map((name) => [name, null]));

export function GraphsPage() {
  usePageTitle("Graphs");
  const [address, change] = useAddress();
  const metric = address.metric ?? "dpg";
  const query = queryOf(address);
  const key = JSON.stringify(query);
  const { list, shown } = useGraphList(query);
  const facets = useResource(`facets/${key}`, (signal) => api.listGraphs({ ...query, limit: 1 }, signal), { keep: true });
  const collections = useResource("collections", listCollections, { keep: true });
  const [chosen, setChosen] = useState<Set<string>>(new Set());
  const [all, setAll] = useState(false);
  const none = () => {
    setChosen(new Set());
    setAll(false);
  };
  useEffect(none, [key]);
  useEffect(() => layoutAhead(shown.items), [shown.items]);
  const toggle = (id: string) =>
    setChosen((old) => {
      const next = new Set(old);
      if (!next.delete(id)) next.add(id);
      return next;
    });
  const reload = () => {
    void list.refresh();
    facets.reload();
    collections.reload();
  };

  const counts = facets.value?.facets ?? {};
  const named = collections.value?.items ?? [];
  const active = CONDITIONS.filter((name) => address[name]);
  const nameOf = (name: string) => {
    const value = address[name] ?? "";
    if (name === "collection_id") return `in ${named.find(({ id }) => id === value)?.name ?? "a collection"}`;
    if (name === "min_score" || name === "max_score") {
      const what = address.kind && metric === "dpg" ? humanize(address.kind) : metricLabel(metric);
      return `${what} ${name === "min_score" ? "≥" : "≤"} ${formatScore(Number(value))}`;
    }
    return name === "split" ? humanize(value) : `${name}: ${humanize(value)}`;
  };
  const total = shown.total;
  const error = list.error ?? shown.error;
  const which: WhichGraphs = all ? { filter: Object.fromEntries(Object.entries(query).filter(([name, value]) => value && name !== "sort")) } : { graph_ids: [...chosen] };
  const count = all ? (total ?? 0) : chosen.size;
  const facet = (name: string, title?: string, open = false) => (
    <Facet key={name} name={name} {...(title ? { title } : {})} counts={counts[name] ?? {}} value={address[name]} open={open} onChange={(value) => change({ [name]: value }, true)} />
  );

  return (
    <>
      <div class="page-head">
        <div>
          <h1>Graphs</h1>
          <p>Each scene graph with its candidates: the best framed green, the worst red.</p>
        </div>
        <div class="row row-wrap">
          <GraphSearch values={address} onChange={change} />
          <select class="select graph-sort" aria-label="Sort" value={address.sort ?? ""} onChange={(event) => change({ sort: event.currentTarget.value }, true)}>
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
          <SavedViews path="/graphs" />
          <ScoreFacet query={query} values={address} onChange={change} />
          {facet("split")}
          {WORDS.map((name) => facet(name, undefined, true))}
          {facet("tag", "tag", true)}
          <Facet
            name="collection"
            counts={counts.collection ?? {}}
            value={named.find(({ id }) => id === address.collection_id)?.name}
            onChange={(name) => change({ collection_id: named.find((one) => one.name === name)?.id ?? null }, true)}
          />
          {facet("lint", "finding")}
        </aside>
        <div class="stack grow">
          <div class="row row-wrap browser-count">
            <span class="quiet tabular" aria-live="polite">
              {total === null ? "Loading graphs" : `${formatCount(total)} graphs`}
            </span>
            {active.map((name) => (
              <span key={name} class="chip chip-accent">
                <span class="truncate">{nameOf(name)}</span>
                <button type="button" aria-label={`Remove the filter ${name}`} onClick={() => change({ [name]: null }, true)}>
                  <Icon name="cross" size={12} />
                </button>
              </span>
            ))}
            {active.length > 1 && (
              <button type="button" class="button button-quiet button-small" onClick={() => change(CLEAR, true)}>
                Remove all
              </button>
            )}
            {total !== null && total > 0 && count === 0 && (
              <button type="button" class="button button-quiet button-small choose-all" onClick={() => setAll(true)}>
                Choose all
              </button>
            )}
          </div>
          {error && (
            <>
              <ErrorNotice error={error} what="The graphs could not be listed." />
              <button type="button" class="button" style={{ alignSelf: "flex-start" }} onClick={() => void list.want(1)}>
                Try again
              </button>
            </>
          )}
          {total === 0 && !error && (
            <Empty icon="graphs" title={active.length > 0 ? "No graph fits these filters" : "No graphs yet"}>
              {active.length > 0 ? (
                <button type="button" class="button" onClick={() => change(CLEAR, true)}>
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
          <VirtualGrid
            label="Graphs"
            count={total ?? (error ? 0 : 12)}
            least={CARD}
            cardHeight={cardHeight}
            stale={shown !== list}
            onRange={(_, to) => void list.want(to + AHEAD)}
            card={(place, tabIndex) => {
              const graph = shown.items[place];
              if (!graph) return <Skeleton height="100%" />;
              const isChosen = all || chosen.has(graph.id);
              return (
                <Unchanged key={graph.id} of={[graph, metric, tabIndex, isChosen, all, count > 0]}>
                  {() => (
                    <div class="card-frame">
                      <GraphCard graph={graph} metric={metric} tabIndex={tabIndex} selected={isChosen} />
                      <label class={`card-choice ${count > 0 ? "shown" : ""}`}>
                        <input
                          type="checkbox"
                          tabIndex={tabIndex}
                          checked={isChosen}
                          disabled={all}
                          aria-label={`Choose ${graphTitle(graph)}`}
                          onChange={() => toggle(graph.id)}
                        />
                      </label>
                    </div>
                  )}
                </Unchanged>
              );
            }}
          />
        </div>
      </div>
      {count > 0 && (
        <BulkBar
          which={which}
          count={count}
          total={all ? null : total}
          tags={Object.keys(counts.tag ?? {})}
          collections={named}
          onAll={() => setAll(true)}
          onNone={none}
          onDone={reload}
        />
      )}
    </>
  );
}
