/** Numbers, times and names as people read them. */

export const formatScore = (value: number | null | undefined): string =>
  value == null || Number.isNaN(value) ? "–" : value.toFixed(2);

export const formatScore3 = (value: number | null | undefined): string =>
  value == null || Number.isNaN(value) ? "–" : value.toFixed(3);

/** With its sign, and a true minus. */
export function formatDelta(value: number | null | undefined, digits = 3): string {
  if (value == null || Number.isNaN(value)) return "–";
  const text = Math.abs(value).toFixed(digits);
  return value < 0 ? `−${text}` : `+${text}`;
}

export const formatCount = (value: number | null | undefined): string =>
  value == null ? "–" : value.toLocaleString("en-US");

export const formatPercent = (value: number | null | undefined): string =>
  value == null ? "–" : `${Math.round(value * 100)} %`;

/** At most four significant digits, whole numbers in full; without an exponent where it can be avoided. */
export function formatNumber(value: number | null | undefined): string {
  if (value == null || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e12) return value.toLocaleString("en-US").replaceAll("-", "−");
  if (size < 1e-4 || size >= 1e6) return value.toExponential(2).replace(/\.?0+e/, "e").replaceAll("-", "−");
  return String(Number(value.toPrecision(size < 0.01 ? 3 : 4))).replaceAll("-", "−");
}

export function formatSeconds(seconds: number | null | undefined): string {
  if (seconds == null) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds - minutes * 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function formatBytes(bytes: number | null | undefined): string {
  if (bytes == null) return "–";
  const units = ["B", "kB", "MB", "GB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function formatAgo(iso: string | null | undefined, now = Date.now()): string {
  if (!iso) return "–";
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(iso).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

export const formatTime = (iso: string): string =>
  new Date(iso).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const shortHash = (hash: string | null | undefined, length = 10): string => (hash ? hash.slice(0, length) : "–");

/** `held_out` → `held out`. */
export const humanize = (name: string): string => name.replaceAll("_", " ").replaceAll("-", " ");

const METRICS: Record<string, string> = {
  dpg: "Questions",
  dpg_reference: "Questions, as published",
  attribute: "Attributes",
  spatial: "Spatial",
  three_in_one: "3-in-1",
  votes: "Votes",
  sg_iou: "Graph IoU",
  entity_iou: "Entity IoU",
  relation_iou: "Relation IoU",
  sg_iou_exact: "Graph IoU, exact words",
  entity_iou_exact: "Entity IoU, exact words",
  relation_iou_exact: "Relation IoU, exact words",
};
export const metricLabel = (name: string): string => METRICS[name] ?? humanize(name);

const OBJECTIVES: Record<string, string> = {
  "inversion-dpo": "Inversion-DPO",
  "inversion-dpo-published": "Inversion-DPO (Eq. 16 as published)",
  "inversion-dpo-official": "Inversion-DPO (released script)",
  "single-timestep": "Inversion-DPO (one timestep of Eq. 16)",
  "diffusion-dpo": "Diffusion-DPO",
  inpo: "DDIM-InPO",
  d3po: "D3PO",
  sft: "Supervised fine-tuning",
  mixture: "Mixture",
};
export const objectiveLabel = (name: string | undefined): string => (name ? (OBJECTIVES[name] ?? name) : "Training");
