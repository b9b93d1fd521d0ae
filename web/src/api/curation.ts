/** What curators do with graphs: tags, collections, another wording; each of it can be taken back. */
import { address, get, listGraphs, post, problemOf, request, ROOT, type GraphQuery } from "./client";
import type { BulkResult, Collection, Edit, GraphSummary, Page, Revision } from "./types";

export type CurationAction =
  | { action: "add_tags" | "remove_tags"; tags: string[] }
  | { action: "add_to_collection" | "remove_from_collection"; collection_id: string };

/** Graphs by name, or all that a list is of. */
export type WhichGraphs = { graph_ids: string[] } | { filter: GraphQuery };

/** The graphs' names, all of a list's where it is a list. */
export async function idsOf(which: WhichGraphs): Promise<string[]> {
  if ("graph_ids" in which) return which.graph_ids;
  const ids: string[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await listGraphs({ ...which.filter, facets: false, limit: 200, cursor: cursor ?? null });
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.next_cursor;
  } while (cursor);
  return ids;
}

export const editGraphs = (which: WhichGraphs, action: CurationAction) => post<BulkResult>(address("/graphs/bulk"), { ...which, ...action });

export const listEdits = (signal?: AbortSignal) => get<Page<Edit>>(address("/edits"), { limit: 20 }, signal);
export const undoEdit = (id: string) => post<Edit>(address("/edits/{id}/undo", { id }), {});

export const listCollections = (signal?: AbortSignal) => get<Page<Collection>>(address("/collections"), { limit: 200 }, signal);
export const createCollection = (name: string) => post<Collection>(address("/collections"), { name });

export const listRevisions = (id: string, signal?: AbortSignal) => get<Page<GraphSummary>>(address("/graphs/{id}/revisions", { id }), {}, signal);

/** The version of a resource, as a change of it must name it. */
async function versionOf(path: string): Promise<string> {
  const response = await fetch(ROOT + path, { headers: { accept: "application/json" } });
  if (!response.ok) throw problemOf(response.status, await response.json().catch(() => null));
  return response.headers.get("etag") ?? "";
}

export async function graphVersion(id: string): Promise<string> {
  return versionOf(address("/graphs/{id}", { id }));
}

/** Puts another wording in the graph's place: a new graph, made from the version that was seen. */
export const reviseGraph = (id: string, version: string, document: string) =>
  request<Revision>("PUT", address("/graphs/{id}/document", { id }), {
    body: document,
    headers: { "content-type": "application/json", "if-match": version },
  });

export async function deleteCollection(id: string): Promise<void> {
  const path = address("/collections/{id}", { id });
  await request<null>("DELETE", path, { headers: { "if-match": await versionOf(path) } });
}

export async function renameCollection(id: string, name: string): Promise<Collection> {
  const path = address("/collections/{id}", { id });
  const body = JSON.stringify({ name });
  return request<Collection>("PATCH", path, { body, headers: { "content-type": "application/json", "if-match": await versionOf(path) } });
}
