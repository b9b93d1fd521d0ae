/** A long list of graphs, fetched page by page ahead of the window, and still there when one comes back to it. */
import { useEffect, useState } from "preact/hooks";
import { cameBack } from "../scroll-memory";
import { listGraphs, type GraphQuery } from "./client";
import type { GraphPage, GraphSummary } from "./types";

/** The first page is what one waits for, the others come ahead. */
const FIRST_ROWS = 24;
const ROWS = 60;
/** Most rows that the service gives at once: for a window that is far ahead of what is here. */
const MOST_ROWS = 200;
/** Lists that are kept for the way back. */
const KEPT = 8;

type Ask = (query: GraphQuery, signal?: AbortSignal) => Promise<Pick<GraphPage, "items" | "next_cursor" | "total">>;

export class GraphList {
  items: GraphSummary[] = [];
  /** Null until the first page is here. */
  total: number | null = null;
  error: Error | undefined;
  private cursor: string | null = null;
  private wanted = 0;
  private running: Promise<void> | null = null;
  private readonly listeners = new Set<() => void>();

  constructor(
    private readonly query: GraphQuery,
    private readonly ask: Ask = listGraphs,
  ) {}

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Fetches until there are `rows` graphs, or no more; resolves then. */
  want(rows: number): Promise<void> {
    this.wanted = Math.max(this.wanted, rows);
    this.running ??= this.run().finally(() => {
      this.running = null;
      this.tell();
    });
    return this.running;
  }

  /** Asks again for all that is here: rows keep their places until the new ones have come. */
  async refresh(): Promise<void> {
    await this.running;
    const rows = Math.max(this.items.length, FIRST_ROWS);
    const fresh = new GraphList(this.query, this.ask);
    await fresh.want(rows);
    this.error = fresh.error;
    if (!fresh.error) {
      this.items = fresh.items;
      this.total = fresh.total;
      this.cursor = fresh.cursor;
      this.wanted = rows;
    }
    this.tell();
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }

  private async run(): Promise<void> {
    this.error = undefined;
    while (this.total === null || (this.items.length < this.wanted && this.cursor !== null)) {
      const missing = this.wanted - this.items.length;
      const limit = this.total === null ? FIRST_ROWS : missing > ROWS ? MOST_ROWS : ROWS;
      try {
        const page = await this.ask({ ...this.query, facets: false, limit, cursor: this.cursor });
        this.items = [...this.items, ...page.items];
        this.cursor = page.next_cursor ?? null;
        // Rows may come and go while one scrolls: the last page says how many there are.
        this.total = this.cursor === null ? this.items.length : Math.max(page.total, this.items.length);
      } catch (error) {
        this.error = error as Error;
        return;
      }
      this.tell();
    }
  }
}

const kept = new Map<string, GraphList>();

/** The list of `query`: a new one, but the old one for who comes back to it by the browser's buttons. */
function listOf(key: string, query: GraphQuery): GraphList {
  const old = cameBack() ? kept.get(key) : undefined;
  const list = old ?? new GraphList(query);
  kept.delete(key);
  kept.set(key, list);
  for (const oldest of kept.keys()) {
    if (kept.size <= KEPT) break;
    kept.delete(oldest);
  }
  return list;
}

/** What was listed is no longer so: what is kept for the way back is asked for again. */
export const forgetGraphLists = (): void => kept.clear();

/** The list of `query`; while another one's first page is on its way, `shown` is still the one before. */
export function useGraphList(query: GraphQuery): { list: GraphList; shown: GraphList } {
  const key = JSON.stringify(query);
  const [state, setState] = useState(() => ({ key, list: listOf(key, query), shown: null as GraphList | null }));
  const [, setRound] = useState(0);
  const current = state.key === key ? state : { key, list: listOf(key, query), shown: state.shown };
  if (current !== state) setState(current);
  const { list } = current;
  useEffect(() => {
    const onChange = () => {
      if (list.total !== null || list.error) setState((old) => (old.list === list && old.shown !== list ? { ...old, shown: list } : old));
      setRound((round) => round + 1);
    };
    const leave = list.subscribe(onChange);
    void list.want(FIRST_ROWS);
    onChange();
    return leave;
  }, [list]);
  return { list, shown: list.total !== null ? list : (current.shown ?? list) };
}
