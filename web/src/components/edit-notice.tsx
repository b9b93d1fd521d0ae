/** What was just done to graphs, with the way back. */
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import type { Edit } from "../api/types";
import { forgetGraphLists } from "../api/graph-list";
import { undoEdit } from "../api/curation";
import { ErrorNotice } from "./basics";
import { Icon } from "./icon";

interface Done {
  text: string;
  edits: Edit[];
  /** Shows what is so after it was taken back. */
  onUndone: () => void;
}

const done = signal<Done | null>(null);
/** How long the notice stays, in milliseconds. */
const STAYS = 12_000;

/** Tells what was done; edits that changed nothing leave nothing to take back. */
export function tellEdit(text: string, edits: Edit[], onUndone: () => void): void {
  forgetGraphLists();
  done.value = { text, edits, onUndone };
}

export function EditNotice() {
  const [failure, setFailure] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const now = done.value;
  useEffect(() => {
    if (!now || busy || failure) return;
    const timer = setTimeout(() => {
      if (done.value === now) done.value = null;
    }, STAYS);
    return () => clearTimeout(timer);
  }, [now, busy, failure]);
  const undo = async () => {
    if (!now) return;
    setBusy(true);
    setFailure(null);
    try {
      // The last first: a later one may rest on an earlier.
      for (const edit of [...now.edits].reverse()) await undoEdit(edit.id);
      forgetGraphLists();
      done.value = { text: "Taken back", edits: [], onUndone: now.onUndone };
      now.onUndone();
    } catch (error) {
      setFailure(error as Error);
    }
    setBusy(false);
  };
  return (
    <div class="edit-notice" role="status">
      {now && (
        <div class="notice">
          <Icon name="check" />
          <span>{now.text}</span>
          {now.edits.length > 0 && (
            <button type="button" class="button button-small" disabled={busy} onClick={() => void undo()}>
              Undo
            </button>
          )}
          <button
            type="button"
            class="icon-button"
            aria-label="Close"
            onClick={() => {
              done.value = null;
              setFailure(null);
            }}
          >
            <Icon name="cross" size={12} />
          </button>
        </div>
      )}
      {failure && <ErrorNotice error={failure} what="It could not be taken back." />}
    </div>
  );
}
