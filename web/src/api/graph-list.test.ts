import { describe, expect, test } from "vitest";
import type { GraphQuery } from "./client";
import { GraphList } from "./graph-list";
import type { GraphSummary } from "./types";

/** A service with `count` graphs whose cursor is the next place. */
function service(count: number) {
  const asked: GraphQuery[] = [];
  const ask = async (query: GraphQuery) => {
    asked.push(query);
    const from = Number(query.cursor ?? 0);
    const to = Math.min(count, from + (query.limit ?? 50));
    const items = Array.from({ length: to - from }, (_, k) => ({ id: String(from + k) }) as GraphSummary);
    return { items, next_cursor: to < count ? String(to) : null, total: count };
  };
  return { asked, ask };
}

describe("GraphList", () => {
  test("fetches what is wanted and no more, each graph once and in order", async () => {
    const { ask, asked } = service(1000);
    const list = new GraphList({ sort: "spread" }, ask);
    await list.want(24);
    expect(list.items).toHaveLength(24);
    expect(list.total).toBe(1000);
    await list.want(30);
    expect(list.items).toHaveLength(84);
    await list.want(30);
    expect(asked).toHaveLength(2);
    await list.want(1000);
    expect(list.items.map(({ id }) => id)).toEqual(Array.from({ length: 1000 }, (_, k) => String(k)));
    expect(asked.every(({ sort, facets }) => sort === "spread" && facets === false)).toBe(true);
    expect(Math.max(...asked.map(({ limit }) => limit ?? 0))).toBe(200);
  });

  test("two who want at once do not fetch twice", async () => {
    const { ask, asked } = service(100);
    const list = new GraphList({}, ask);
    await Promise.all([list.want(10), list.want(100)]);
    expect(list.items).toHaveLength(100);
    expect(new Set(asked.map(({ cursor }) => cursor ?? "")).size).toBe(asked.length);
  });

  test("an error stops it, and wanting again goes on where it was", async () => {
    const { ask } = service(100);
    let broken = false;
    const list = new GraphList({}, (query) => (broken ? Promise.reject(new Error("away")) : ask(query)));
    await list.want(24);
    broken = true;
    await list.want(60);
    expect(list.error?.message).toBe("away");
    expect(list.items).toHaveLength(24);
    broken = false;
    await list.want(100);
    expect(list.error).toBeUndefined();
    expect(list.items).toHaveLength(100);
  });

  test("a refresh brings as many rows as there were", async () => {
    let count = 300;
    const list = new GraphList({}, (query) => service(count).ask(query));
    await list.want(150);
    const rows = list.items.length;
    count = 299;
    await list.refresh();
    expect(list.items.length).toBeGreaterThanOrEqual(rows);
    expect(list.total).toBe(299);
  });

  test("an empty list ends at once", async () => {
    const { ask, asked } = service(0);
    const list = new GraphList({}, ask);
    await list.want(500);
    expect(list.total).toBe(0);
    expect(asked).toHaveLength(1);
  });
});
