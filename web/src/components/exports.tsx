/** Data out: what to write and as what, how far it is, and its files. */
import { useEffect, useState } from "preact/hooks";
import * as api from "../api/client";
import { listCollections } from "../api/curation";
import { createExport, EXPORT_FORMATS, listExports, type ExportFormat } from "../api/exchange";
import { useResource, type Resource } from "../api/resource";
import type { ExportSummary, Page } from "../api/types";
import { formatAgo, formatBytes, formatCount, humanize } from "../format";
import { Bar, Empty, ErrorNotice, isActive, Panel, StateChip } from "./basics";
import { Icon } from "./icon";
import { Table } from "./table";

const formatOf = (name: string) => EXPORT_FORMATS.find((one) => one.name === name);

function ExportForm({ onDone }: { onDone: () => void }) {
  const pairings = useResource("pairings", api.listPairings);
  const collections = useResource("collections", listCollections);
  const [format, setFormat] = useState<ExportFormat>("pick-a-pic");
  const [pairing, setPairing] = useState("");
  const [split, setSplit] = useState("");
  const [collection, setCollection] = useState("");
  const [license, setLicense] = useState("");
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  const frozen = pairings.value?.items ?? [];
  const kind = formatOf(format);
  useEffect(() => {
    if (!pairing && frozen[0]) setPairing(frozen[0].id);
  }, [frozen.length]);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      await createExport({
        format,
        ...(kind?.of === "pairs" ? { pairing_id: pairing } : {}),
        ...(kind?.of === "graphs" && split ? { split } : {}),
        ...(kind?.of === "graphs" && collection ? { collection_id: collection } : {}),
        ...(license.trim() ? { license: license.trim() } : {}),
      });
      onDone();
    } catch (error) {
      setFailure(error as Error);
    }
    setBusy(false);
  };
  const waits = kind?.of === "pairs" && frozen.length === 0;
  return (
    <form class="stack stack-s" onSubmit={submit} aria-label="Export">
      <div class="form-grid export-form">
        <label class="field">
          <span>Format</span>
          <select class="select" value={format} onChange={(event) => setFormat(event.currentTarget.value as ExportFormat)}>
            {EXPORT_FORMATS.map(({ name, label }) => (
              <option key={name} value={name}>
                {label}
              </option>
            ))}
          </select>
        </label>
        {kind?.of === "pairs" && (
          <label class="field">
            <span>Pairs</span>
            <select class="select" value={pairing} onChange={(event) => setPairing(event.currentTarget.value)}>
              {frozen.map(({ id, name, num_pairs }) => (
                <option key={id} value={id}>
                  {name} ({formatCount(num_pairs)})
                </option>
              ))}
            </select>
          </label>
        )}
        {kind?.of === "graphs" && (
          <>
            <label class="field">
              <span>Split</span>
              <select class="select" value={split} onChange={(event) => setSplit(event.currentTarget.value)}>
                <option value="">both</option>
                <option value="train">train</option>
                <option value="held_out">held out</option>
              </select>
            </label>
            <label class="field">
              <span>Collection</span>
              <select class="select" value={collection} onChange={(event) => setCollection(event.currentTarget.value)}>
                <option value="">all graphs</option>
                {(collections.value?.items ?? []).map(({ id, name, num_graphs }) => (
                  <option key={id} value={id}>
                    {name} ({formatCount(num_graphs)})
                  </option>
                ))}
              </select>
            </label>
          </>
        )}
        <label class="field">
          <span>Licence</span>
          <input class="input" placeholder="other" list="licenses" value={license} onInput={(event) => setLicense(event.currentTarget.value)} />
          <datalist id="licenses">
            {["CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "Apache-2.0"].map((name) => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </label>
        <button type="submit" class="button button-primary" disabled={busy || waits}>
          <Icon name="exports" /> Export
        </button>
      </div>
      <span class="small faint">{waits ? "Freeze pairs first: these formats are of a frozen pairing." : `${kind?.help} With it a data card, Croissant metadata and the licences.`}</span>
      {failure && <ErrorNotice error={failure} what="The export was not accepted." />}
    </form>
  );
}

const errorText = (error: ExportSummary["error"]): string =>
  typeof error === "string" ? error : [error?.title, error?.detail ?? error?.message].filter(Boolean).join(": ");

export const useExports = (): Resource<Page<ExportSummary>> =>
  useResource("exports", listExports, { poll: (page) => (page?.items.some(({ state }) => isActive(state)) ? 1000 : null), keep: true });

export function Exports({ exports }: { exports: Resource<Page<ExportSummary>> }) {
  const items = exports.value?.items ?? [];
  return (
    <Panel title="Exports" flush label="Exports">
      <div class="panel-body">
        <ExportForm onDone={exports.reload} />
      </div>
      {exports.error && !exports.value && <ErrorNotice error={exports.error} what="The exports could not be listed." />}
      {exports.value && items.length === 0 && (
        <Empty icon="exports" title="Nothing exported yet">
          <p>What is exported is the same rows when it is imported again.</p>
        </Empty>
      )}
      {items.length > 0 && (
        <Table columns={["Format", "State", "Files", "When"]} kind="export-table">
          {items.map((one) => (
            <tr key={one.id}>
              <td>{formatOf(one.format)?.label ?? humanize(one.format)}</td>
              <td style={{ minWidth: 130 }}>
                <StateChip state={one.state} />
                {isActive(one.state) && <Bar value={one.progress.total ? one.progress.done / one.progress.total : 0} moving label="Progress of the export" />}
                <div class="small faint tabular">
                  {formatCount(one.progress.done)} of {formatCount(one.progress.total)} {one.progress.unit}
                </div>
                {one.error && <div class="small field-fault">{errorText(one.error)}</div>}
              </td>
              <td>
                <ul class="export-files">
                  {one.files.map((file) => (
                    <li key={file.name}>
                      <a class="link" href={file.url} download={file.name} title={`SHA-256 ${file.sha256}`}>
                        {file.name}
                      </a>{" "}
                      <span class="faint small tabular nowrap">{formatBytes(file.bytes)}</span>
                    </li>
                  ))}
                </ul>
              </td>
              <td class="quiet nowrap">{formatAgo(one.created_at)}</td>
            </tr>
          ))}
        </Table>
      )}
    </Panel>
  );
}
