/** The scores of a list's candidates as a histogram to drag on, by metric and by kind of question. */
import { useEffect, useRef, useState } from "preact/hooks";
import { listGraphs, type GraphQuery } from "../api/client";
import { useResource } from "../api/resource";
import type { ScoreBin } from "../api/types";
import { humanize, metricLabel } from "../format";
import { rangeOf, spanOf, type Span } from "../score-range";
import { Skeleton } from "./basics";
import { RangeHistogram } from "./range-histogram";

const METRICS = ["dpg", "attribute", "spatial", "three_in_one"];
const KINDS = ["entity", "attribute", "relation"];
/** While one drags the list follows this often, in milliseconds. */
const FOLLOW = 120;

export function ScoreFacet({
  query,
  values,
  onChange,
}: {
  /** The list's conditions. */
  query: GraphQuery;
  values: Record<string, string>;
  onChange: (changes: Record<string, string | null>, push?: boolean) => void;
}) {
  const metric = values.metric ?? "dpg";
  // All scores, those outside of the range too: one drags on what there is.
  const whole: GraphQuery = {
    ...query,
    metric: metric === "dpg" ? undefined : metric,
    kind: metric === "dpg" ? values.kind : undefined,
    min_score: undefined,
    max_score: undefined,
    sort: undefined,
    limit: 1,
  };
  const scores = useResource(`scores/${JSON.stringify(whole)}`, (signal) => listGraphs(whole, signal), { keep: true });
  const bins: ScoreBin[] = scores.value?.score_histogram ?? [];
  const [draft, setDraft] = useState<Span | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  useEffect(() => () => clearTimeout(timer.current), []);
  const span = draft ?? spanOf(bins, values.min_score, values.max_score);
  const follow = (next: Span) => {
    setDraft(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      onChange(rangeOf(bins, next));
      setDraft(null);
    }, FOLLOW);
  };
  const other = (changes: Record<string, string | null>) => onChange({ ...changes, min_score: null, max_score: null }, true);
  return (
    <fieldset class="facet score-facet">
      <legend>Score of a candidate</legend>
      <div class="row">
        <select class="select input-small" aria-label="Metric" value={metric} onChange={(event) => other({ metric: event.currentTarget.value === "dpg" ? null : event.currentTarget.value, kind: null })}>
          {METRICS.map((name) => (
            <option key={name} value={name}>
              {metricLabel(name)}
            </option>
          ))}
        </select>
        {metric === "dpg" && (
          <select class="select input-small" aria-label="Kind of question" value={values.kind ?? ""} onChange={(event) => other({ kind: event.currentTarget.value })}>
            <option value="">of all kinds</option>
            {KINDS.map((kind) => (
              <option key={kind} value={kind}>
                {humanize(kind)}
              </option>
            ))}
          </select>
        )}
      </div>
      {!scores.value && <Skeleton height={126} />}
      {scores.value && (bins.length > 0 ? <RangeHistogram bins={bins} span={span} onChange={follow} label="score" /> : <div class="range-none small faint">None of these is scored by it.</div>)}
    </fieldset>
  );
}
