/** Candidates for many graphs at once, scored as soon as they are made. */
import { useState } from "preact/hooks";
import * as api from "../api/client";
import { idsOf, type WhichGraphs } from "../api/curation";
import { ErrorNotice } from "./basics";
import { Icon } from "./icon";
import { Following, type Run } from "./make-again";

/** Four each, as a pair of the best and the worst wants them. */
const CANDIDATES = 4;

export function MakeMany({ which, onDone, primary = false }: { which: WhichGraphs; onDone: () => void; primary?: boolean }) {
  const [run, setRun] = useState<Run | null>(null);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  const start = async () => {
    setBusy(true);
    setFailure(null);
    try {
      const made = await api.createGeneration({ graph_ids: await idsOf(which), num_candidates: CANDIDATES });
      setRun({ kind: "generation", id: made.id, thenScore: "shapes" });
    } catch (error) {
      setFailure(error as Error);
    }
    setBusy(false);
  };
  return (
    <div class="stack stack-s make-many">
      <button type="button" class={`button button-small ${primary ? "button-primary" : ""}`} disabled={busy || run !== null} onClick={() => void start()}>
        <Icon name="refresh" size={13} /> Make and score candidates
      </button>
      {failure && <ErrorNotice error={failure} what="That was not accepted." />}
      {run && <Following key={run.id} run={run} onNext={setRun} onDone={onDone} />}
    </div>
  );
}
