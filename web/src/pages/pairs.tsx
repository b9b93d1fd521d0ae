/** The pairing workbench: a policy, and the pairs that follow from it while it is changed. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { useAddress } from "../address";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { Policy, SelectRule } from "../api/types";
import { Empty, ErrorNotice, Panel, Skeleton } from "../components/basics";
import { FrozenPairings } from "../components/frozen-pairings";
import { Histogram } from "../components/histogram";
import { Icon } from "../components/icon";
import { PairTile } from "../components/pair-tile";
import { PairingComparison } from "../components/pairing-comparison";
import { formatCount, formatScore, formatScore3, metricLabel } from "../format";
import { usePageTitle } from "../page-title";

/** What people said is weighed like a score. */
const METRICS = ["dpg", "attribute", "spatial", "three_in_one", "votes"];
const DEFAULT_WEIGHTS: Record<string, number> = { dpg: 1 };
const DEFAULT_MARGIN = 0.1;

const SELECTS: { value: SelectRule; label: string; help: string }[] = [
  { value: "best_worst", label: "Best and worst", help: "one pair a graph: the clearest lesson" },
  { value: "best_rest", label: "Best and each other", help: "up to three pairs a graph" },
  { value: "all_above_margin", label: "All above the margin", help: "every pair that differs enough" },
  { value: "random", label: "One at random", help: "one pair a graph, drawn by a seed" },
];

export function policyFrom(address: Record<string, string>): Policy {
  const weights = Object.fromEntries(
    METRICS.map((name) => {
      const value = Number(address[name]);
      return [name, address[name] !== undefined && Number.isFinite(value) ? value : (DEFAULT_WEIGHTS[name] ?? 0)];
    }),
  );
  const margin = address.margin !== undefined && Number.isFinite(Number(address.margin)) ? Number(address.margin) : DEFAULT_MARGIN;
  const select = SELECTS.find(({ value }) => value === address.select)?.value ?? "best_worst";
  return { weights, margin, select, tie: address.tie === "skip" ? "skip" : "first" };
}

/** What is sent: metrics without weight are left out, as they say nothing; chance gets its seed. */
const effective = (policy: Policy): Policy => ({
  ...policy,
  select: policy.select === "random" ? { random: { seed: 0, pairs_per_graph: 1 } } : policy.select,
  weights: Object.fromEntries(Object.entries(policy.weights).filter(([, weight]) => weight > 0)),
});

function useDebounced<T>(value: T, milliseconds: number): T {
  const [settled, setSettled] = useState(value);
  const key = JSON.stringify(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), milliseconds);
    return () => clearTimeout(timer);
  }, [key]);
  return settled;
}

export function PairsPage() {
  usePageTitle("Pairs");
  const [address, change] = useAddress();
  const [, navigate] = useLocation();
  const policy = useMemo(() => policyFrom(address), [JSON.stringify(address)]);
  const sent = useDebounced(effective(policy), 90);
  const weighted = Object.keys(sent.weights).length > 0;
  const preview = useResource(
    weighted ? `preview/${JSON.stringify(sent)}` : null,
    (signal) => api.previewPairing(sent, signal),
    { keep: true },
  );
  const pairings = useResource("pairings", api.listPairings, { keep: true });
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  const value = preview.value;
  const chosen = (address.compare ?? "").split(",").filter(Boolean).slice(0, 2);
  const compared = chosen.flatMap((id) => pairings.value?.items.find((pairing) => pairing.id === id) ?? []);

  const freeze = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      const pairing = await api.freezePairing(name || `${String(policy.select).replaceAll("_", "-")} ${policy.margin}`, effective(policy));
      navigate(`/pairings/${pairing.id}`);
    } catch (error) {
      setFailure(error as Error);
      setBusy(false);
    }
  };

  return (
    <>
      <div class="page-head">
        <div>
          <h1>Pairs</h1>
          <p>Winners and losers follow from the scores by this policy. Freeze it to train on exactly these pairs.</p>
        </div>
      </div>
      <div class="workbench">
        <div class="stack">
          <Panel title="Policy" label="Policy">
            <div class="stack">
              <div class="stack stack-s">
                <h3>Weight of each score</h3>
                {METRICS.map((metric) => (
                  <label key={metric} class="slider">
                    <span>{metricLabel(metric)}</span>
                    <input
                      type="range"
                      class="range"
                      min="0"
                      max="1"
                      step="0.05"
                      value={policy.weights[metric]}
                      onInput={(event) => change({ [metric]: event.currentTarget.value })}
                    />
                    <output class="tabular">{formatScore(policy.weights[metric])}</output>
                  </label>
                ))}
                {(policy.weights.votes ?? 0) > 0 && (
                  <p class="small faint">A picture's share of the votes that it won. Only pictures that people compared are paired.</p>
                )}
                {!weighted && <p class="small" style={{ color: "var(--loser)" }}>Give at least one score a weight.</p>}
              </div>
              <div class="stack stack-s">
                <h3>Least margin</h3>
                <label class="slider">
                  <span class="quiet">score</span>
                  <input
                    type="range"
                    class="range"
                    min="0"
                    max="1"
                    step="0.01"
                    value={policy.margin}
                    aria-label="Least margin"
                    onInput={(event) => change({ margin: event.currentTarget.value })}
                  />
                  <output class="tabular">{formatScore(policy.margin)}</output>
                </label>
              </div>
              <fieldset class="stack stack-s choice">
                <legend>
                  <h3>Which pairs of the four</h3>
                </legend>
                {SELECTS.map((option) => (
                  <label key={option.value} class="choice-row">
                    <input
                      type="radio"
                      name="select"
                      checked={policy.select === option.value}
                      onChange={() => change({ select: option.value === "best_worst" ? null : option.value })}
                    />
                    <span>
                      {option.label} <small class="faint">{option.help}</small>
                    </span>
                  </label>
                ))}
              </fieldset>
              <label class="choice-row">
                <input type="checkbox" checked={policy.tie === "skip"} onChange={(event) => change({ tie: event.currentTarget.checked ? "skip" : null })} />
                <span>
                  Leave out ties <small class="faint">graphs where several share the best or the worst score</small>
                </span>
              </label>
              <form class="stack stack-s" onSubmit={freeze}>
                <label class="field">
                  <span>Name of the snapshot</span>
                  <input
                    class="input"
                    value={name}
                    placeholder={`${String(policy.select).replaceAll("_", "-")} ${policy.margin}`}
                    onInput={(event) => setName(event.currentTarget.value)}
                  />
                </label>
                <button type="submit" class="button button-primary" disabled={busy || !value || value.num_pairs === 0}>
                  <Icon name="lock" /> Freeze {value ? formatCount(value.num_pairs) : ""} pairs
                </button>
                {failure && <ErrorNotice error={failure} what="The pairs could not be frozen." />}
              </form>
            </div>
          </Panel>
        </div>
        <div class="stack">
          {preview.error && <ErrorNotice error={preview.error} what="The pairs could not be computed." />}
          <Panel label="What follows" >
            <div class="preview-figures">
              <div>
                <span class="figure-label">Pairs</span>
                <span class="figure tabular">{value ? formatCount(value.num_pairs) : "–"}</span>
              </div>
              <div>
                <span class="figure-label">Graphs</span>
                <span class="figure tabular">{value ? formatCount(value.num_graphs) : "–"}</span>
              </div>
              <div>
                <span class="figure-label">Mean margin</span>
                <span class="figure tabular">{formatScore3(value?.mean_margin)}</span>
              </div>
              <div class="grow preview-histogram">
                {value ? <Histogram bins={value.histogram} label="margin" /> : <Skeleton height={92} />}
              </div>
            </div>
          </Panel>
          <Panel title="Sample pairs" label="Sample pairs">
            {value && value.pairs.length === 0 ? (
              <Empty icon="pairs" title="No pair meets this policy">
                <p>
                    {(policy.weights.votes ?? 0) > 0 ? "Only pictures with votes are paired. " : ""}Lower the margin, or weigh a score in which the candidates differ. Without scored candidates there are
                  no pairs at all.
                </p>
              </Empty>
            ) : (
              <div class={`diptych-grid ${preview.loading ? "stale" : ""}`}>
                {!value && Array.from({ length: 9 }, (_, i) => <Skeleton key={i} height={150} />)}
                {value?.pairs.map((pair) => (
                  <PairTile key={`${pair.winner.id}/${pair.loser.id}`} pair={pair} href={`/graphs/${pair.graph_id}`} />
                ))}
              </div>
            )}
          </Panel>
          <Panel title="Frozen pairings" flush label="Frozen pairings" extra={<span class="small faint">tick two to compare them</span>}>
            {pairings.error && !pairings.value && <ErrorNotice error={pairings.error} what="The pairings could not be listed." />}
            {pairings.value?.items.length === 0 && (
              <Empty icon="lock" title="Nothing frozen yet">
                <p>A frozen pairing is what a job trains on: its pairs, their policy and a hash of both never change.</p>
              </Empty>
            )}
            {pairings.value && pairings.value.items.length > 0 && (
              <FrozenPairings
                pairings={pairings.value.items}
                chosen={chosen}
                onChoose={(ids) => change({ compare: ids.join(",") }, true)}
              />
            )}
          </Panel>
          {compared.length === 2 && compared[0] && compared[1] && <PairingComparison here={compared[0]} there={compared[1]} />}
        </div>
      </div>
    </>
  );
}
