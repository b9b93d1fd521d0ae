/** A graph's document as it came, its revisions, and another wording of it. */
import { useState } from "preact/hooks";
import { Link, useLocation } from "wouter-preact";
import { graphVersion, listRevisions, reviseGraph } from "../api/curation";
import { useResource } from "../api/resource";
import type { GraphDetail } from "../api/types";
import { ErrorNotice, Panel } from "./basics";
import { tellEdit } from "./edit-notice";
import { Icon } from "./icon";

export function GraphDocument({ graph }: { graph: GraphDetail }) {
  const [, navigate] = useLocation();
  const revisions = useResource(`revisions/${graph.id}`, (signal) => listRevisions(graph.id, signal));
  const [draft, setDraft] = useState<{ text: string; version: string } | null>(null);
  const [failure, setFailure] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const items = revisions.value?.items ?? [];
  const attempt = async (what: () => Promise<void>) => {
    setBusy(true);
    setFailure(null);
    try {
      await what();
    } catch (error) {
      setFailure(error as Error);
    }
    setBusy(false);
  };
  const begin = () =>
    attempt(async () => {
      // The version goes with what one sees: a change by others in the meantime is then refused, not lost.
      const version = await graphVersion(graph.id);
      setDraft({ text: JSON.stringify(graph.document, null, 2), version });
    });
  const save = () =>
    attempt(async () => {
      if (!draft) return;
      const { graph: next, edit } = await reviseGraph(graph.id, draft.version, draft.text);
      setDraft(null);
      tellEdit(`This is revision ${next.revision}; its candidates are still to be made`, [edit], () => navigate(`/graphs/${graph.id}`));
      navigate(`/graphs/${next.id}`);
    });
  return (
    <Panel
      title="As it came"
      label="Document"
      extra={
        graph.is_current && !draft ? (
          <button type="button" class="button button-small" disabled={busy} onClick={() => void begin()}>
            <Icon name="edit" size={13} /> Reword
          </button>
        ) : undefined
      }
    >
      <div class="stack stack-s">
        {items.length > 1 && (
          <ol class="row row-wrap" aria-label="Revisions">
            {items.map((one) => (
              <li key={one.id}>
                <Link href={`/graphs/${one.id}`} class={`chip ${one.id === graph.id ? "chip-accent" : ""}`} aria-current={one.id === graph.id ? "page" : undefined}>
                  revision {one.revision}
                  {one.is_current ? ", current" : ""}
                </Link>
              </li>
            ))}
          </ol>
        )}
        {draft ? (
          <form
            class="stack stack-s"
            onSubmit={(event) => {
              event.preventDefault();
              void save();
            }}
          >
            <textarea class="input document-edit" aria-label="Document" spellcheck={false} value={draft.text} onInput={(event) => setDraft({ ...draft, text: event.currentTarget.value })} />
            <div class="row">
              <button type="submit" class="button button-primary" disabled={busy}>
                Save as a new revision
              </button>
              <button type="button" class="button" onClick={() => setDraft(null)}>
                Leave it
              </button>
            </div>
          </form>
        ) : (
          <details>
            <summary class="link">The document</summary>
            <pre class="document" tabIndex={0}>
              {JSON.stringify(graph.document, null, 2)}
            </pre>
          </details>
        )}
        {failure && <ErrorNotice error={failure} what="The graph was not changed." />}
        {graph.lint.length === 0 && <p class="small faint">Lint found nothing wrong with this graph.</p>}
      </div>
    </Panel>
  );
}
