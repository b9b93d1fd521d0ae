/** Blind A/B: two candidates of a graph, no scores, one key a vote; the most disputed pairs first. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { useAddress } from "../address";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { Contest, Vote, VoteAgreement, VoteChoice } from "../api/types";
import { Bar, Empty, ErrorNotice, Panel, Picture, Skeleton } from "../components/basics";
import { Icon } from "../components/icon";
import { useLinkedZoom, Zoomable, ZoomTools } from "../components/zoom";
import { formatCount, formatPercent, metricLabel } from "../format";
import { usePageTitle } from "../page-title";
import { contestKey, EMPTY_QUEUE, enqueue, judge, undo, unjudge, type VoteQueueState } from "../vote-queue";

/** Pairs asked for at a time; more are asked for when fewer than `LOW` wait. */
const AHEAD = 16;
const LOW = 10;

const CHOICES: { choice: VoteChoice; key: string; cap: string; label: string }[] = [
  { choice: "left", key: "ArrowLeft", cap: "←", label: "Left is better" },
  { choice: "both_good", key: "ArrowUp", cap: "↑", label: "Both good" },
  { choice: "both_bad", key: "ArrowDown", cap: "↓", label: "Both bad" },
  { choice: "right", key: "ArrowRight", cap: "→", label: "Right is better" },
  { choice: "skip", key: "s", cap: "S", label: "Skip" },
];

const preload = (contests: Contest[]) => {
  for (const { left, right } of contests) for (const { image_url } of [left, right]) new Image().src = image_url;
};

/** Waiting pairs, votes on their way, and both taken back where they fail. */
function useVotes(voter: string, onSettled: () => void) {
  const [state, setState] = useState<VoteQueueState & { ready: boolean }>({ ...EMPTY_QUEUE, ready: false });
  const [failure, setFailure] = useState<{ what: string; error: Error } | null>(null);
  const latest = useRef(state);
  latest.current = state;
  const sent = useRef(new Map<string, Promise<Vote>>());
  // One change travels at a time, so that the store has them in the order in which they were made.
  const road = useRef<Promise<unknown>>(Promise.resolve());
  const travelling = useRef(0);
  const asking = useRef(false);
  const alive = useRef(true);

  const travel = useCallback(<T,>(change: () => Promise<T>): Promise<T> => {
    const arrived = road.current.then(change);
    road.current = arrived.catch(() => undefined);
    return arrived;
  }, []);

  const fetchMore = useCallback(async () => {
    if (asking.current) return;
    asking.current = true;
    try {
      // The store still gives the pairs that wait here, and those whose votes are on their way.
      const queue = await api.voteQueue(voter, AHEAD + latest.current.waiting.length + travelling.current);
      if (!alive.current) return;
      preload(queue.items);
      const next = enqueue(latest.current, queue.items);
      // Later counts may lack votes that are on their way; from the first on we count ourselves.
      const counts = latest.current.ready ? {} : { voted: queue.voted, remaining: queue.remaining };
      latest.current = { ...next, ready: true, ...counts };
      setState(latest.current);
    } catch (error) {
      if (alive.current) setFailure({ what: "The next pairs could not be loaded.", error: error as Error });
    }
    asking.current = false;
  }, [voter]);

  useEffect(() => {
    alive.current = true;
    asking.current = false;
    sent.current.clear();
    setFailure(null);
    latest.current = { ...EMPTY_QUEUE, ready: false };
    setState(latest.current);
    void fetchMore();
    return () => {
      alive.current = false;
    };
  }, [fetchMore]);

  const vote = useCallback(
    (choice: VoteChoice) => {
      const [contest] = latest.current.waiting;
      if (!contest) return;
      setFailure(null);
      latest.current = { ...judge(latest.current, choice), ready: true };
      setState(latest.current);
      travelling.current += 1;
      const arrived = travel(() =>
        api.castVote({ left_id: contest.left.id, right_id: contest.right.id, choice, voter }).finally(() => {
          travelling.current -= 1;
        }),
      );
      sent.current.set(contestKey(contest), arrived);
      arrived.then(onSettled, (error: Error) => {
        if (!alive.current) return;
        latest.current = { ...unjudge(latest.current, contest), ready: true };
        setState(latest.current);
        setFailure({ what: "The vote did not arrive; the pair is back.", error });
      });
      // Not after it has arrived: who judges faster than votes travel would see the pairs run out.
      if (latest.current.waiting.length < LOW) void fetchMore();
    },
    [voter, travel, fetchMore, onSettled],
  );

  const takeBack = useCallback(async () => {
    const last = latest.current.judged.at(-1);
    if (!last) return;
    setFailure(null);
    latest.current = { ...undo(latest.current), ready: true };
    setState(latest.current);
    try {
      const cast = sent.current.get(contestKey(last.contest));
      // Before a new vote on the pair, which would have the old one's id.
      if (cast) await travel(async () => api.deleteVote((await cast).id));
      onSettled();
    } catch (error) {
      setFailure({ what: "The vote could not be taken back.", error: error as Error });
    }
  }, [travel, onSettled]);

  return { state, failure, vote, takeBack };
}

function Agreement({ value, error }: { value: VoteAgreement | undefined; error: Error | undefined }) {
  if (error && !value) return <ErrorNotice error={error} what="The agreement could not be computed." />;
  if (!value) return <Skeleton height={150} />;
  const { choices } = value;
  const sided = choices.left + choices.right;
  if (sided === 0) {
    return <p class="quiet small agreement-none">After the first vote for one side: how often each score prefers the same picture as you.</p>;
  }
  return (
    <div class="stack stack-s">
      {value.scorers.map((scorer) => {
        const total = scorer.agreed + scorer.disagreed;
        const share = total > 0 ? scorer.agreed / total : null;
        return (
          <div key={scorer.metric} class="agreement-row">
            <span class="truncate">{metricLabel(scorer.metric)}</span>
            <Bar value={share} tone={share !== null && share < 0.5 ? "loser" : "winner"} />
            <span
              class="tabular small nowrap"
              title={scorer.ci95 ? `95 % interval ${formatPercent(scorer.ci95[0])} to ${formatPercent(scorer.ci95[1])}` : undefined}
            >
              {share === null ? "only ties" : `${scorer.agreed} of ${total}`}
              {scorer.tied > 0 && share !== null && <span class="faint"> + {scorer.tied} ties</span>}
            </span>
            {scorer.ci95 && (
              <span class="agreement-interval small faint tabular">
                {formatPercent(share)} ({formatPercent(scorer.ci95[0])} to {formatPercent(scorer.ci95[1])})
              </span>
            )}
          </div>
        );
      })}
      <p class="small faint tabular">
        left {choices.left}, right {choices.right}, both good {choices.both_good}, both bad {choices.both_bad}, skipped {choices.skip}
      </p>
    </div>
  );
}

export function VotesPage() {
  usePageTitle("Votes");
  const [address, change] = useAddress();
  const voter = (address.voter ?? "").trim();
  const agreement = useResource(`agreement/${voter}`, (signal) => api.voteAgreement(voter, signal), { keep: true });
  const { state, failure, vote, takeBack } = useVotes(voter, agreement.reload);
  const contest = state.waiting[0];
  const zoom = useLinkedZoom(contest ? contestKey(contest) : "");
  const last = state.judged.at(-1);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const choice = CHOICES.find((one) => one.key === key)?.choice;
      if (!choice && key !== "z") return;
      event.preventDefault();
      if (event.repeat) return;
      if (choice) vote(choice);
      else void takeBack();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [vote, takeBack]);

  const total = state.voted + state.remaining;
  return (
    <>
      <div class="page-head">
        <div>
          <h1>Votes</h1>
          <p>Which picture shows more of what the caption asks for? No scores are shown. Pairs that the scores dispute come first.</p>
        </div>
        <label class="field vote-voter">
          <span>Your name</span>
          <input
            class="input"
            value={address.voter ?? ""}
            maxLength={100}
            placeholder="nobody in particular"
            onChange={(event) => change({ voter: event.currentTarget.value })}
          />
        </label>
      </div>
      <div class="job-progress">
        <Bar value={total > 0 ? state.voted / total : 0} tone="winner" label="Pairs judged" />
        <div class="row spread small quiet tabular" data-testid="vote-progress">
          <span>
            {state.ready ? `${formatCount(state.voted)} of ${formatCount(total)} pairs judged` : " "}
          </span>
          <span>{last ? `last: ${CHOICES.find(({ choice }) => choice === last.choice)?.label.toLowerCase()}` : " "}</span>
        </div>
      </div>
      {failure && <ErrorNotice error={failure.error} what={failure.what} />}
      <div class="vote-layout">
        <section class="stack" aria-label="Pair to judge">
          {state.ready && !contest ? (
            <Empty icon="check" title={state.voted > 0 ? "Every pair is judged" : "There is nothing to judge yet"}>
              {state.voted > 0 ? (
                <>
                  <p>Your votes can be weighed in a pairing, beside the scores or alone.</p>
                  <Link href="/pairs?dpg=0&votes=1&margin=0" class="button button-primary">
                    Pair by votes
                  </Link>
                </>
              ) : (
                <>
                  <p>Pairs come from graphs with at least two candidates that were scored.</p>
                  <Link href="/graphs" class="button button-primary">
                    To the graphs
                  </Link>
                </>
              )}
            </Empty>
          ) : (
            <>
              <h2 class="vote-caption clamp-2">{contest ? contest.caption : <Skeleton height={22} width="70%" />}</h2>
              <div class="vote-pictures">
                {(["left", "right"] as const).map((side) => (
                  <div key={side} class={`vote-side vote-${side}`}>
                    {contest ? (
                      <Zoomable zoom={zoom}>
                        <Picture
                          key={contest[side].id}
                          src={contest[side].image_url}
                          alt={`The ${side} picture`}
                          lazy={false}
                          badge={<span class="badge">{side === "left" ? "A" : "B"}</span>}
                        />
                      </Zoomable>
                    ) : (
                      <div class="picture skeleton" />
                    )}
                  </div>
                ))}
              </div>
              <div class="vote-buttons" role="group" aria-label="Your vote">
                {CHOICES.map(({ choice, cap, label }) => (
                  <button key={choice} type="button" class={`button vote-button vote-button-${choice}`} disabled={!contest} onClick={() => vote(choice)}>
                    <kbd>{cap}</kbd> {label}
                  </button>
                ))}
                <button type="button" class="button vote-button" disabled={state.judged.length === 0} onClick={() => void takeBack()}>
                  <kbd>Z</kbd> Undo
                </button>
              </div>
              <div class="row spread">
                <span class="small faint">Ctrl + wheel or a double click zooms both</span>
                <ZoomTools zoom={zoom} />
              </div>
            </>
          )}
        </section>
        <Panel
          title="Agreement with the scores"
          label="Agreement with the scores"
          extra={
            <Link href="/pairs?dpg=0&votes=1&margin=0" class="link row small">
              Pair by votes <Icon name="arrow" size={13} />
            </Link>
          }
        >
          <Agreement value={agreement.value} error={agreement.error} />
        </Panel>
      </div>
    </>
  );
}
