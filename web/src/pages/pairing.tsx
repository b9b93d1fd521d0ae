/** A frozen pairing: its pairs one by one, winner beside loser, what they differ in on top. */
import { useEffect, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { useAddress } from "../address";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { Pair } from "../api/types";
import { Empty, ErrorNotice, Sentinel, Skeleton } from "../components/basics";
import { Icon } from "../components/icon";
import { PairDetail } from "../components/pair-detail";
import { PairTile } from "../components/pair-tile";
import { formatAgo, formatCount, shortHash } from "../format";
import { usePageTitle } from "../page-title";
import { describePolicy } from "../policy-text";

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
        <PairDetail
          pair={shown}
          number={index}
          total={value?.num_pairs ?? state.items.length}
          blind={address.blind !== undefined}
          onBlind={(blind) => change({ blind: blind ? "1" : null })}
          go={go}
        />
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
