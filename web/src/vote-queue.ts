/** The pairs that wait for a vote and those that had theirs, as one state with pure steps. */
import type { Contest, VoteChoice } from "./api/types";

export interface Judged {
  contest: Contest;
  choice: VoteChoice;
}

export interface VoteQueueState {
  /** The first is on the screen. */
  waiting: Contest[];
  /** The newest last. */
  judged: Judged[];
  /** Pairs that this voter has judged in all, and has not. */
  voted: number;
  remaining: number;
}

export const EMPTY_QUEUE: VoteQueueState = { waiting: [], judged: [], voted: 0, remaining: 0 };

export const contestKey = ({ left, right }: Contest): string => [left.id, right.id].sort().join("/");

/** What the server gave joins at the end; a vote on its way there may make it give a pair that is here already. */
export function enqueue(state: VoteQueueState, given: Contest[]): VoteQueueState {
  const known = new Set([...state.waiting, ...state.judged.map(({ contest }) => contest)].map(contestKey));
  return { ...state, waiting: [...state.waiting, ...given.filter((contest) => !known.has(contestKey(contest)))] };
}

export function judge(state: VoteQueueState, choice: VoteChoice): VoteQueueState {
  const [contest, ...waiting] = state.waiting;
  if (!contest) return state;
  return { waiting, judged: [...state.judged, { contest, choice }], voted: state.voted + 1, remaining: Math.max(0, state.remaining - 1) };
}

/** The last pair is on the screen again. */
export function undo(state: VoteQueueState): VoteQueueState {
  const last = state.judged.at(-1);
  if (!last) return state;
  return {
    waiting: [last.contest, ...state.waiting],
    judged: state.judged.slice(0, -1),
    voted: Math.max(0, state.voted - 1),
    remaining: state.remaining + 1,
  };
}

/** Takes back one pair, wherever it stands among those judged: its vote did not arrive. */
export function unjudge(state: VoteQueueState, contest: Contest): VoteQueueState {
  const key = contestKey(contest);
  if (!state.judged.some((one) => contestKey(one.contest) === key)) return state;
  return {
    waiting: [contest, ...state.waiting],
    judged: state.judged.filter((one) => contestKey(one.contest) !== key),
    voted: Math.max(0, state.voted - 1),
    remaining: state.remaining + 1,
  };
}
