/** Files in: dragged here or chosen, sent one after another. */
import { useState } from "preact/hooks";
import { formatOfName, IMPORT_FORMATS, importFile, type ImportFormat } from "../api/exchange";
import { forgetGraphLists } from "../api/graph-list";
import type { ImportSummary } from "../api/types";
import { formatBytes, formatPercent } from "../format";
import { Bar, ErrorNotice } from "./basics";
import { Icon } from "./icon";

interface Sending {
  file: File;
  share: number;
}

export function DropZone({ onImported }: { onImported: (summary: ImportSummary) => void }) {
  const [over, setOver] = useState(false);
  const [sending, setSending] = useState<Sending | null>(null);
  const [failure, setFailure] = useState<Error | null>(null);
  const [format, setFormat] = useState<ImportFormat>("laion-sg");
  const kind = IMPORT_FORMATS.find(({ name }) => name === format) ?? IMPORT_FORMATS[0];
  const take = async (files: FileList | null | undefined) => {
    setFailure(null);
    for (const file of [...(files ?? [])]) {
      // The name decides where it can: a parquet holds no scene graphs.
      const its = formatOfName(file.name) ?? format;
      setFormat(its);
      setSending({ file, share: 0 });
      try {
        const summary = await importFile(file, its, (share) => setSending({ file, share }));
        forgetGraphLists();
        onImported(summary);
      } catch (error) {
        setFailure(error as Error);
      }
    }
    setSending(null);
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
          if (!sending) void take(event.dataTransfer?.files);
        }}
      >
        <input
          type="file"
          class="visually-hidden"
          multiple
          accept={[...new Set(IMPORT_FORMATS.flatMap(({ accept }) => accept.split(",")))].join(",")}
          disabled={sending !== null}
          onChange={(event) => void take(event.currentTarget.files)}
        />
        <Icon name="imports" size={26} />
        <strong>{sending ? (sending.share < 1 ? `Sending ${sending.file.name}` : `Reading ${sending.file.name}`) : "Drop a file here, or choose one"}</strong>
        {sending ? (
          <div class="drop-progress">
            <Bar value={sending.share} moving={sending.share >= 1} label={`Sending ${sending.file.name}`} />
            <span class="quiet small tabular">
              {sending.share < 1 ? `${formatPercent(sending.share)} of ${formatBytes(sending.file.size)}` : "checked record by record"}
            </span>
          </div>
        ) : (
          <span class="quiet small">{kind.help} A bad record is rejected alone, and a file read twice changes nothing.</span>
        )}
      </label>
      <label class="row drop-format">
        <span class="small quiet nowrap">What is in it</span>
        <select class="select" value={format} disabled={sending !== null} onChange={(event) => setFormat(event.currentTarget.value as ImportFormat)}>
          {IMPORT_FORMATS.map(({ name, label }) => (
            <option key={name} value={name}>
              {label}
            </option>
          ))}
        </select>
      </label>
      {failure && <ErrorNotice error={failure} what="The file could not be imported." />}
    </div>
  );
}
