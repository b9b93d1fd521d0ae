/** Data in and out: files and what came of them, rejects with their reasons; exports; collections and edits. */
import { Link, useLocation } from "wouter-preact";
import { IMPORT_FORMATS, listImports, listRejects } from "../api/exchange";
import { useResource } from "../api/resource";
import type { ImportSummary } from "../api/types";
import { Empty, ErrorNotice, Panel, Skeleton } from "../components/basics";
import { Curation } from "../components/collections";
import { DropZone } from "../components/drop-zone";
import { Exports, useExports } from "../components/exports";
import { Table } from "../components/table";
import { formatAgo, formatCount, formatSeconds } from "../format";
import { usePageTitle } from "../page-title";

export function ImportCounts({ summary }: { summary: ImportSummary }) {
  return (
    <div class="row row-wrap">
      <span class="chip chip-winner">{formatCount(summary.accepted)} accepted</span>
      {summary.unchanged > 0 && <span class="chip">{formatCount(summary.unchanged)} unchanged</span>}
      {summary.rejected > 0 && <span class="chip chip-loser">{formatCount(summary.rejected)} rejected</span>}
      {summary.warnings > 0 && <span class="chip chip-warn">{formatCount(summary.warnings)} {summary.warnings === 1 ? "warning" : "warnings"}</span>}
    </div>
  );
}

function Rejects({ id }: { id: string }) {
  const rejects = useResource(`rejects/${id}`, (signal) => listRejects(id, signal));
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
        <Table columns={[{ number: "Record" }, "Where", "Reason", "What to do"]}>
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
        </Table>
      )}
    </Panel>
  );
}

export function ImportsPage({ id }: { id?: string }) {
  usePageTitle("Data");
  const [, navigate] = useLocation();
  const imports = useResource("imports", listImports, { keep: true });
  const exports = useExports();
  const items = imports.value?.items ?? [];
  // The lists stand above each other: shown at once, none pushes another away.
  const ready = [imports, exports].every(({ value, error }) => value !== undefined || error !== undefined);
  return (
    <>
      <div class="page-head">
        <div>
          <h1>Data</h1>
          <p>Scene graphs, pictures and scores come in and go out here, in the forms that others use.</p>
        </div>
      </div>
      <DropZone
        onImported={(summary) => {
          imports.reload();
          navigate(`/imports/${summary.id}`);
        }}
      />
      {!ready && <Skeleton height="60vh" />}
      {ready && (
        <>
          {id && <Rejects key={id} id={id} />}
          <Panel title="All imports" flush label="All imports">
            {imports.error && !imports.value && <ErrorNotice error={imports.error} what="The imports could not be listed." />}
            {imports.value && items.length === 0 && (
              <Empty icon="imports" title="Nothing imported yet">
                <p>Files imported here or by <code>diptych ingest</code> are listed with what was accepted and rejected.</p>
              </Empty>
            )}
            {items.length > 0 && (
              <Table columns={["File", "Format", { number: "Records" }, "Result", { number: "Time" }, "When"]}>
                {items.map((summary) => (
                  <tr key={summary.id} class={summary.id === id ? "lit" : ""}>
                    <td>
                      <Link href={`/imports/${summary.id}`} class="link" title={summary.file}>
                        {summary.file.split("/").at(-1)}
                      </Link>
                    </td>
                    <td class="quiet">
                      {IMPORT_FORMATS.find(({ name }) => name === summary.format)?.label ?? summary.format}
                      {summary.pairing_id && (
                        <>
                          {" "}
                          <Link href={`/pairings/${summary.pairing_id}`} class="link nowrap">
                            its pairs
                          </Link>
                        </>
                      )}
                    </td>
                    <td class="number">{formatCount(summary.read)}</td>
                    <td>
                      <ImportCounts summary={summary} />
                    </td>
                    <td class="number">{formatSeconds(summary.seconds)}</td>
                    <td class="quiet nowrap">{formatAgo(summary.created_at)}</td>
                  </tr>
                ))}
              </Table>
            )}
          </Panel>
          <Exports exports={exports} />
          <Curation />
        </>
      )}
    </>
  );
}
