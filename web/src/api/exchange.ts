/** Data in and out: files that are taken in, and files that are written. */
import { address, ApiError, get, parseJson, post, problemOf, ROOT, withQuery } from "./client";
import type { ExportSummary, ImportSummary, Page, Reject } from "./types";

export const listImports = (signal?: AbortSignal) => get<Page<ImportSummary>>(address("/imports"), { limit: 50 }, signal);
export const listRejects = (id: string, signal?: AbortSignal) => get<Page<Reject>>(address("/imports/{id}/rejects", { id }), { limit: 200 }, signal);

/** What is in a file, and the media type that it is sent as. */
export const IMPORT_FORMATS = [
  { name: "laion-sg", label: "LAION-SG scene graphs", help: "An array of graphs, or JSON lines; gzip of either.", accept: ".json,.jsonl,.ndjson,.gz" },
  { name: "visual-genome", label: "Visual Genome scene graphs", help: "The project's own scene_graphs.json.", accept: ".json,.gz" },
  { name: "prompts", label: "Captions", help: "One a line: rules find its things, what describes them and how they relate.", accept: ".txt,.gz" },
  { name: "images", label: "Pictures with captions", help: "A tar of pictures, each beside a .txt with its caption.", accept: ".tar" },
  { name: "pick-a-pic", label: "Pick-a-Pic pairs", help: "Parquet; its pairs become a frozen pairing. Ties make no pair.", accept: ".parquet" },
  { name: "scores", label: "Scores", help: "JSON lines, as exports have them.", accept: ".jsonl,.gz" },
  { name: "answers", label: "Answers", help: "JSON lines, as exports have them.", accept: ".jsonl,.gz" },
  { name: "detections", label: "Detections", help: "JSON lines: what a detector found in candidates. They are scored as they come in.", accept: ".jsonl,.gz" },
  { name: "extractions", label: "Extracted graphs", help: "JSON lines: the graphs that a model read out of candidates. They are scored as they come in.", accept: ".jsonl,.gz" },
] as const;
export type ImportFormat = (typeof IMPORT_FORMATS)[number]["name"];

const MEDIA_TYPES: [string, string][] = [
  [".gz", "application/gzip"],
  [".tar", "application/x-tar"],
  [".parquet", "application/vnd.apache.parquet"],
  [".txt", "text/plain"],
  [".jsonl", "application/x-ndjson"],
  [".ndjson", "application/x-ndjson"],
  [".json", "application/json"],
];
export const mediaTypeOf = (name: string): string =>
  MEDIA_TYPES.find(([ending]) => name.toLowerCase().endsWith(ending))?.[1] ?? "application/octet-stream";

/** What a file of this name can only be; null where its name does not say. */
export function formatOfName(name: string): ImportFormat | null {
  const lower = name.toLowerCase();
  if (lower.endsWith(".parquet")) return "pick-a-pic";
  if (lower.endsWith(".tar")) return "images";
  if (lower.endsWith(".txt") || lower.endsWith(".txt.gz")) return "prompts";
  return null;
}

/** `onSent` is told the share of the file that has arrived; `fetch` cannot say that, and so it is a request of the old kind. */
export function importFile(file: File, format: ImportFormat, onSent: (share: number) => void = () => {}): Promise<ImportSummary> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", ROOT + withQuery(address("/imports"), { name: file.name, format }));
    request.setRequestHeader("accept", "application/json");
    request.setRequestHeader("content-type", mediaTypeOf(file.name));
    request.upload.onprogress = ({ loaded, total }) => onSent(total > 0 ? loaded / total : 1);
    request.onload = () => {
      const body = parseJson(request.responseText);
      if (request.status < 300) resolve(body as ImportSummary);
      else reject(problemOf(request.status, body));
    };
    request.onerror = () => reject(new ApiError(0, "The file did not arrive", "Is diptych still running?"));
    request.send(file);
  });
}

export const EXPORT_FORMATS = [
  { name: "pick-a-pic", label: "Pick-a-Pic parquet", of: "pairs", help: "19 columns as in Pick-a-Pic v2, pictures inside; equal scores in a file of their own." },
  { name: "web-dataset", label: "WebDataset", of: "pairs", help: "A tar: pictures, caption and facts of each pair." },
  { name: "kohya", label: "kohya", of: "pairs", help: "A tar with the folders winner and loser, captions beside." },
  { name: "jsonl", label: "JSON lines", of: "pairs", help: "A line a pair, pictures by address and SHA-256." },
  { name: "laion-sg", label: "LAION-SG scene graphs", of: "graphs", help: "Graphs as they came." },
  { name: "scores", label: "Scores", of: "all", help: "A line a score card." },
  { name: "answers", label: "Answers", of: "all", help: "A line an answer." },
] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number]["name"];

export interface ExportRequest {
  format: ExportFormat;
  pairing_id?: string;
  split?: string;
  collection_id?: string;
  license?: string;
}

export const createExport = (request: ExportRequest) => post<ExportSummary>(address("/exports"), request);
export const listExports = (signal?: AbortSignal) => get<Page<ExportSummary>>(address("/exports"), { limit: 50 }, signal);
