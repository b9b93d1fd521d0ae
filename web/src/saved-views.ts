/** Views of a list that have a name: the query of an address, kept in this browser, passed on by the address itself. */

export interface SavedView {
  name: string;
  /** Without the leading question mark and without the name. */
  query: string;
}

const KEY = "diptych.views";
const MOST = 100;
/** Names a view inside an address that is passed on. */
export const VIEW = "view";

/** An address's query in one order, so that the same conditions are the same view; without the name of a view. */
export function normalQuery(query: string): string {
  const params = new URLSearchParams(query);
  params.delete(VIEW);
  params.sort();
  return params.toString();
}

/** What was kept, entries that are none left out. */
export function readViews(text: string | null): SavedView[] {
  try {
    const entries: unknown = JSON.parse(text ?? "[]");
    if (!Array.isArray(entries)) return [];
    return entries.filter((view): view is SavedView => typeof view?.name === "string" && typeof view?.query === "string").slice(0, MOST);
  } catch {
    return [];
  }
}

/** With this view: a name stands once, the newest meaning of it. */
export function withView(views: SavedView[], name: string, query: string): SavedView[] {
  const trimmed = name.trim();
  if (trimmed === "") return views;
  return [...views.filter((view) => view.name !== trimmed), { name: trimmed, query: normalQuery(query) }]
    .sort((a, b) => a.name.localeCompare(b.name))
    .slice(0, MOST);
}

export const loadViews = (): SavedView[] => readViews(localStorage.getItem(KEY));
export const storeViews = (views: SavedView[]): void => localStorage.setItem(KEY, JSON.stringify(views));

/** The address that shows a view to somebody else, and offers it to them by its name. */
export function addressOfView(path: string, { name, query }: SavedView): string {
  const params = new URLSearchParams(query);
  params.set(VIEW, name);
  return `${path}?${params}`;
}
