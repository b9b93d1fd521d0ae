/** Views of a list by name: kept in this browser, passed on as addresses. */
import { useState } from "preact/hooks";
import { Link, useSearch } from "wouter-preact";
import { addressOfView, loadViews, normalQuery, storeViews, VIEW, withView, type SavedView } from "../saved-views";
import { Icon } from "./icon";

export function SavedViews({ path }: { path: string }) {
  const search = useSearch();
  const [views, setViews] = useState<SavedView[]>(loadViews);
  const [name, setName] = useState("");
  const [copied, setCopied] = useState<string | null>(null);
  const query = normalQuery(search);
  const keep = (next: SavedView[]) => {
    storeViews(next);
    setViews(next);
  };
  const here = views.find((view) => view.query === query);
  const offered = new URLSearchParams(search).get(VIEW);
  const copy = async (view: SavedView) => {
    const link = location.origin + addressOfView(path, view);
    try {
      await navigator.clipboard.writeText(link);
      setCopied(view.name);
      setTimeout(() => setCopied(null), 2000);
    } catch {
      // Browsers refuse the clipboard to pages without HTTPS: then the address is shown to be copied by hand.
      window.prompt("Address of this view", link);
    }
  };
  return (
    <fieldset class="facet saved-views">
      <legend>Views</legend>
      {views.map((view) => (
        <div key={view.name} class="saved-view">
          <Link href={view.query ? `${path}?${view.query}` : path} class="facet-row grow" aria-current={here === view ? "true" : undefined}>
            <span class="truncate">{view.name}</span>
          </Link>
          <button type="button" class="icon-button" title="Copy its address" aria-label={`Copy the address of ${view.name}`} onClick={() => void copy(view)}>
            <Icon name={copied === view.name ? "check" : "link"} size={13} />
          </button>
          <button type="button" class="icon-button" title="Forget it" aria-label={`Forget the view ${view.name}`} onClick={() => keep(views.filter((one) => one !== view))}>
            <Icon name="cross" size={12} />
          </button>
        </div>
      ))}
      {offered && !here && (
        <button type="button" class="button button-small" onClick={() => keep(withView(views, offered, search))}>
          <Icon name="star" size={12} /> <span class="truncate">Keep “{offered}”</span>
        </button>
      )}
      {!here && !offered && query !== "" && (
        <form
          class="row"
          onSubmit={(event) => {
            event.preventDefault();
            keep(withView(views, name, search));
            setName("");
          }}
        >
          <input class="input input-small" placeholder="Name this view" aria-label="Name of this view" maxLength={60} value={name} onInput={(event) => setName(event.currentTarget.value)} />
          <button type="submit" class="button button-small" disabled={name.trim() === ""}>
            Save
          </button>
        </form>
      )}
      {views.length === 0 && query === "" && <span class="small faint">Filter or sort, then name it here.</span>}
    </fieldset>
  );
}
