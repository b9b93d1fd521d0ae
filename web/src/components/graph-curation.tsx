/** Tags and collections of one graph. */
import { useState } from "preact/hooks";
import { createCollection, editGraphs, listCollections, type CurationAction } from "../api/curation";
import { useResource } from "../api/resource";
import type { GraphDetail } from "../api/types";
import { ErrorNotice } from "./basics";
import { bulkText } from "./bulk-bar";
import { tellEdit } from "./edit-notice";
import { Icon } from "./icon";

export function GraphCuration({ graph, onChange }: { graph: GraphDetail; onChange: () => void }) {
  const collections = useResource("collections", listCollections, { keep: true });
  const [tag, setTag] = useState("");
  const [collection, setCollection] = useState("");
  const [failure, setFailure] = useState<Error | null>(null);
  const act = async (action: CurationAction, name?: string) => {
    setFailure(null);
    try {
      const { edits } = await editGraphs({ graph_ids: [graph.id] }, action);
      tellEdit(bulkText(action, edits.length > 0 ? 1 : 0, name), edits, onChange);
      onChange();
    } catch (error) {
      setFailure(error as Error);
    }
  };
  const put = async () => {
    const name = collection.trim();
    try {
      const known = collections.value?.items.find((one) => one.name === name) ?? (await createCollection(name));
      await act({ action: "add_to_collection", collection_id: known.id }, name);
      setCollection("");
      collections.reload();
    } catch (error) {
      setFailure(error as Error);
    }
  };
  return (
    <div class="row row-wrap graph-curation">
      {graph.tags.map((one) => (
        <span key={one} class="chip chip-accent">
          <span class="truncate">{one}</span>
          <button type="button" aria-label={`Take the tag ${one} off`} onClick={() => void act({ action: "remove_tags", tags: [one] })}>
            <Icon name="cross" size={12} />
          </button>
        </span>
      ))}
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          if (tag.trim()) void act({ action: "add_tags", tags: [tag.trim()] }).then(() => setTag(""));
        }}
      >
        <input class="input input-small" placeholder="Add a tag" aria-label="Add a tag" maxLength={60} value={tag} onInput={(event) => setTag(event.currentTarget.value)} />
      </form>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          if (collection.trim()) void put();
        }}
      >
        <input
          class="input input-small"
          list="graph-collections"
          placeholder="Put into a collection"
          aria-label="Put into a collection"
          maxLength={100}
          value={collection}
          onInput={(event) => setCollection(event.currentTarget.value)}
        />
        <datalist id="graph-collections">
          {(collections.value?.items ?? []).map(({ id, name }) => (
            <option key={id} value={name} />
          ))}
        </datalist>
      </form>
      {failure && <ErrorNotice error={failure} what="Nothing was changed." />}
    </div>
  );
}
