/** Named sets of graphs, and what was done to graphs lately, with the way back. */
import { useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { deleteCollection, listCollections, listEdits, renameCollection, undoEdit } from "../api/curation";
import { forgetGraphLists } from "../api/graph-list";
import { useResource } from "../api/resource";
import type { Collection, Edit } from "../api/types";
import { formatAgo, formatCount } from "../format";
import { Empty, ErrorNotice, Panel } from "./basics";
import { Icon } from "./icon";
import { Table } from "./table";

function CollectionRow({ collection, onChange, onFailure }: { collection: Collection; onChange: () => void; onFailure: (error: Error) => void }) {
  const [name, setName] = useState<string | null>(null);
  const [sure, setSure] = useState(false);
  const attempt = async (what: () => Promise<unknown>) => {
    try {
      await what();
      setName(null);
      onChange();
    } catch (error) {
      onFailure(error as Error);
    }
  };
  return (
    <tr>
      <td>
        {name === null ? (
          <Link href={`/graphs?collection_id=${collection.id}`} class="link">
            {collection.name}
          </Link>
        ) : (
          <form
            class="row"
            onSubmit={(event) => {
              event.preventDefault();
              void attempt(() => renameCollection(collection.id, name));
            }}
          >
            <input class="input input-small" aria-label={`New name of ${collection.name}`} value={name} onInput={(event) => setName(event.currentTarget.value)} />
            <button type="submit" class="button button-small" disabled={name.trim() === ""}>
              Rename
            </button>
          </form>
        )}
      </td>
      <td class="number">{formatCount(collection.num_graphs)}</td>
      <td class="row-actions">
        <button type="button" class="icon-button" aria-label={`Rename ${collection.name}`} onClick={() => setName(name === null ? collection.name : null)}>
          <Icon name="edit" size={13} />
        </button>
        <button
          type="button"
          class={sure ? "button button-small button-danger" : "icon-button"}
          aria-label={sure ? `Really delete ${collection.name}` : `Delete ${collection.name}`}
          onBlur={() => setSure(false)}
          onClick={() => {
            // The graphs stay, but which they were is lost: the first click asks.
            if (!sure) setSure(true);
            else void attempt(() => deleteCollection(collection.id));
          }}
        >
          {sure ? "Really delete?" : <Icon name="cross" size={13} />}
        </button>
      </td>
    </tr>
  );
}

const EDITS: Record<string, string> = {
  add_tag: "tagged",
  remove_tag: "took the tag off",
  add_to_collection: "put into the collection",
  remove_from_collection: "took out of the collection",
  revise: "reworded",
};

export function Curation() {
  const collections = useResource("collections", listCollections, { keep: true });
  const edits = useResource("edits", listEdits, { keep: true });
  const [failure, setFailure] = useState<Error | null>(null);
  const named = collections.value?.items ?? [];
  const undo = async (edit: Edit) => {
    setFailure(null);
    try {
      await undoEdit(edit.id);
      forgetGraphLists();
      collections.reload();
    } catch (error) {
      setFailure(error as Error);
    }
    edits.reload();
  };
  const isGone = ({ kind, subject }: Edit) => kind.endsWith("collection") && !named.some(({ id }) => id === subject);
  const subjectOf = (edit: Edit) =>
    isGone(edit) ? "one that is gone" : edit.kind.endsWith("collection") ? named.find(({ id }) => id === edit.subject)?.name : edit.subject;
  return (
    <div class="graph-layout even">
      <Panel title="Collections" flush label="Collections">
        {failure && <ErrorNotice error={failure} what="That did not work." />}
        {collections.error && !collections.value && <ErrorNotice error={collections.error} what="The collections could not be listed." />}
        {collections.value && named.length === 0 && (
          <Empty icon="star" title="No collection yet">
            <p>Choose graphs in the graph browser and give them a name to find them again, or to export them.</p>
          </Empty>
        )}
        {named.length > 0 && (
          <Table columns={["Collection", { number: "Graphs" }, { hidden: "Actions" }]}>
            {named.map((collection) => (
              <CollectionRow
                key={collection.id}
                collection={collection}
                onFailure={setFailure}
                onChange={() => {
                  setFailure(null);
                  forgetGraphLists();
                  collections.reload();
                }}
              />
            ))}
          </Table>
        )}
      </Panel>
      <Panel title="What was done to graphs" flush label="What was done to graphs">
        {edits.error && !edits.value && <ErrorNotice error={edits.error} what="The edits could not be listed." />}
        {edits.value?.items.length === 0 && (
          <Empty icon="edit" title="Nothing yet">
            <p>Tags, collections and rewordings are listed here, each with the way back.</p>
          </Empty>
        )}
        {(edits.value?.items.length ?? 0) > 0 && (
          <ol class="edit-list">
            {edits.value?.items.map((edit) => (
              <li key={edit.id} class="row spread">
                <span>
                  {EDITS[edit.kind] ?? edit.kind} <strong>{subjectOf(edit)}</strong>{" "}
                  <span class="faint small tabular nowrap">
                    {formatCount(edit.num_graphs)} {edit.num_graphs === 1 ? "graph" : "graphs"}, {formatAgo(edit.created_at)}
                  </span>
                </span>
                {edit.undone_at ? (
                  <span class="chip">taken back</span>
                ) : (
                  !isGone(edit) && (
                    <button type="button" class="button button-small" onClick={() => void undo(edit)}>
                      Undo
                    </button>
                  )
                )}
              </li>
            ))}
          </ol>
        )}
      </Panel>
    </div>
  );
}
