/** What can be done with the graphs that are chosen, or with all of a list: tags and collections. */
import { useState } from "preact/hooks";
import { createCollection, editGraphs, type CurationAction, type WhichGraphs } from "../api/curation";
import type { Collection } from "../api/types";
import { formatCount } from "../format";
import { ErrorNotice } from "./basics";
import { tellEdit } from "./edit-notice";
import { MakeMany } from "./make-many";

const graphs = (count: number): string => `${formatCount(count)} ${count === 1 ? "graph" : "graphs"}`;

/** What a bulk action did, in words. */
export function bulkText(action: CurationAction, changed: number, collection?: string): string {
  if (changed === 0) return "Nothing had to change";
  switch (action.action) {
    case "add_tags":
      return `Tagged ${graphs(changed)} “${action.tags.join("”, “")}”`;
    case "remove_tags":
      return `Took “${action.tags.join("”, “")}” off ${graphs(changed)}`;
    case "add_to_collection":
      return `Put ${graphs(changed)} into “${collection ?? "the collection"}”`;
    case "remove_from_collection":
      return `Took ${graphs(changed)} out of “${collection ?? "the collection"}”`;
  }
}

export function BulkBar({
  which,
  count,
  total,
  tags,
  collections,
  onAll,
  onNone,
  onDone,
}: {
  which: WhichGraphs;
  count: number;
  /** Graphs of the whole list, where not all of them are chosen. */
  total: number | null;
  /** Known ones, to choose from while typing. */
  tags: string[];
  collections: Collection[];
  onAll: () => void;
  onNone: () => void;
  onDone: () => void;
}) {
  const [tag, setTag] = useState("");
  const [collection, setCollection] = useState("");
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  const act = async (make: () => Promise<[CurationAction, string?]>) => {
    setBusy(true);
    setFailure(null);
    try {
      const [action, name] = await make();
      const { edits } = await editGraphs(which, action);
      tellEdit(bulkText(action, Math.max(0, ...edits.map(({ num_graphs }) => num_graphs)), name), edits, onDone);
      setTag("");
      setCollection("");
      onDone();
    } catch (error) {
      setFailure(error as Error);
    }
    setBusy(false);
  };
  const tagged = (action: "add_tags" | "remove_tags") => void act(async () => [{ action, tags: [tag.trim()] }]);
  const collected = (action: "add_to_collection" | "remove_from_collection") =>
    void act(async () => {
      const name = collection.trim();
      const known = collections.find((one) => one.name === name) ?? (await createCollection(name));
      return [{ action, collection_id: known.id }, name];
    });
  const isKnown = collections.some(({ name }) => name === collection.trim());
  return (
    <section class="bulk-bar" aria-label="Chosen graphs">
      <div class="row row-wrap">
        <strong class="tabular nowrap">{graphs(count)}</strong>
        {total !== null && (
          <button type="button" class="button button-small" onClick={onAll}>
            All {formatCount(total)}
          </button>
        )}
        <button type="button" class="button button-small button-quiet" onClick={onNone}>
          None
        </button>
      </div>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          tagged("add_tags");
        }}
      >
        <input class="input input-small" list="bulk-tags" placeholder="Tag" aria-label="Tag" maxLength={60} value={tag} onInput={(event) => setTag(event.currentTarget.value)} />
        <datalist id="bulk-tags">
          {tags.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
        <button type="submit" class="button button-small" disabled={busy || tag.trim() === ""}>
          Add tag
        </button>
        <button type="button" class="button button-small" disabled={busy || tag.trim() === ""} onClick={() => tagged("remove_tags")}>
          Remove
        </button>
      </form>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          collected("add_to_collection");
        }}
      >
        <input
          class="input input-small"
          list="bulk-collections"
          placeholder="Collection"
          aria-label="Collection"
          maxLength={100}
          value={collection}
          onInput={(event) => setCollection(event.currentTarget.value)}
        />
        <datalist id="bulk-collections">
          {collections.map(({ id, name }) => (
            <option key={id} value={name} />
          ))}
        </datalist>
        <button type="submit" class="button button-small" disabled={busy || collection.trim() === ""}>
          {collection.trim() !== "" && !isKnown ? "Create and add" : "Add to it"}
        </button>
        <button type="button" class="button button-small" disabled={busy || !isKnown} onClick={() => collected("remove_from_collection")}>
          Remove
        </button>
      </form>
      <MakeMany which={which} onDone={onDone} />
      {failure && <ErrorNotice error={failure} what="Nothing was changed." />}
    </section>
  );
}
