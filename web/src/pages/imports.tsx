/** Scene graphs in: a file dragged here, and what came of it, rejects with their reasons. */
import { useState } from "preact/hooks";
import { Link, useLocation } from "wouter-preact";
import * as api from "../api/client";
import { useResource } from "../api/resource";
import type { ImportSummary } from "../api/types";
import { Empty, ErrorNotice, Panel, Skeleton } from "../components/basics";
import { Icon } from "../components/icon";
import { formatAgo, formatCount, formatSeconds } from "../format";
import { usePageTitle } from "../page-title";

export function DropZone({ onImported }: { onImported: (summary: ImportSummary) => void }) {
  const [over, setOver] = useState(false);
  const [busy, setBusy] = useState<string | null>(null);
  const [failure, setFailure] = useState<Error | null>(null);
  const take = async (files: FileList | null | undefined) => {
    setFailure(null);
    for (const file of files ?? []) {
      setBusy(file.name);
      try {
        onImported(await api.importFile(file));
      } catch (error) {
        setFailure(error as Error);
      }
    }
    setBusy(null);
  };
  return (
    <div class="stack stack-s">
      <label
        class={`drop ${over ? "over" : ""}`}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          void take(event.dataTransfer?.files);
        }}
      >
        <input type="file" class="visually-hidden" multiple accept=".json,.jsonl,.gz" disabled={busy !== null} onChange={(event) => void take(event.currentTarget.files)} />
        <Icon name="imports" size={26} />
        <strong>{busy ? `Reading ${busy}` : "Drop a LAION-SG file here, or choose one"}</strong>
        <span class="quiet small">An array of graphs, or JSON lines; gzip of either. A bad record is rejected alone, and a file read twice changes nothing.</span>
      </label>
      {failure && <ErrorNotice error={failure} what="The file could not be imported." />}
    </div>
  );
}

export function ImportCounts({ summary }: { summary: ImportSummary }) {
  return (
    <div class="row row-wrap">
      <span class="chip chip-winner">{formatCount(summary.accepted)} accepted</span>
      {summary.unchanged > 0 && <span class="chip">{formatCount(summary.unchanged)} unchanged</span>}
      {summary.rejected > 0 && <span class="chip chip-loser">{formatCount(summary.rejected)} rejected</span>}
      {summary.warnings > 0 && <span class="chip chip-warn">{formatCount(summary.warnings)} warnings</span>}
    </div>
  );
}

function Rejects({ id }: { id: string }) {
  const rejects = useResource(`rejects/${id}`, (signal) => api.listRejects(id, signal));
  const items = rejects.value?.items ?? [];
  return (
    <Panel title="Rejected records" flush label="Rejected records">
      {rejects.error && <ErrorNotice error={rejects.error} what="The rejects could not be loaded." />}
      {rejects.loading && (
        <div class="panel-body">
          <Skeleton height={60} />
        </div>
      )}
      {rejects.value && items.length === 0 && (
        <Empty icon="check" title="Nothing was rejected">
          <p>Every record of this file is in the store.</p>
        </Empty>
      )}
      {items.length > 0 && (
        <div class="table-scroll">
          <table class="table">
            <thead>
              <tr>
                <th scope="col" class="number">
                  Record
                </th>
                <th scope="col">Where</th>
                <th scope="col">Reason</th>
                <th scope="col">What to do</th>
              </tr>
            </thead>
            <tbody>
              {items.map((reject, index) => (
                <tr key={`${reject.record}${reject.pointer}${reject.code}${index}`}>
                  <td class="number">{reject.record ?? "–"}</td>
                  <td class="mono">{reject.pointer || "/"}</td>
                  <td>
                    {reject.message} <code class="faint">{reject.code}</code>
                  </td>
                  <td class="quiet">{reject.suggestion ?? "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

export function ImportsPage({ id }: { id?: string }) {
  usePageTitle("Imports");
  const [, navigate] = useLocation();
  const imports = useResource("imports", api.listImports, { keep: true });
  const items = imports.value?.items ?? [];
  return (
    <>
      <div class="page-head">
        <div>
          <h1>Imports</h1>
          <p>Scene graphs come in here. Then generate candidates, score them, and pair them.</p>
        </div>
      </div>
      <DropZone
        onImported={(summary) => {
          imports.reload();
          navigate(`/imports/${summary.id}`);
        }}
      />
      {id && <Rejects key={id} id={id} />}
      <Panel title="All imports" flush label="All imports">
        {imports.error && !imports.value && <ErrorNotice error={imports.error} what="The imports could not be listed." />}
        {imports.value && items.length === 0 && (
          <Empty icon="imports" title="Nothing imported yet">
            <p>Files imported here or by <code>diptych ingest</code> are listed with what was accepted and rejected.</p>
          </Empty>
        )}
        {items.length > 0 && (
          <div class="table-scroll">
            <table class="table">
              <thead>
                <tr>
                  <th scope="col">File</th>
                  <th scope="col" class="number">
                    Records
                  </th>
                  <th scope="col">Result</th>
                  <th scope="col" class="number">
                    Time
                  </th>
                  <th scope="col">When</th>
                </tr>
              </thead>
              <tbody>
                {items.map((summary) => (
                  <tr key={summary.id} class={summary.id === id ? "lit" : ""}>
                    <td>
                      <Link href={`/imports/${summary.id}`} class="link" title={summary.file}>
                        {summary.file.split("/").at(-1)}
                      </Link>
                    </td>
                    <td class="number">{formatCount(summary.read)}</td>
                    <td>
                      <ImportCounts summary={summary} />
                    </td>
                    <td class="number">{formatSeconds(summary.seconds)}</td>
                    <td class="quiet nowrap">{formatAgo(summary.created_at)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
    </>
  );
}
