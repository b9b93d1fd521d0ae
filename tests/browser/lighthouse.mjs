// Lighthouse on the main pages of a running demo at DIPTYCH_URL: performance and accessibility, at least 95 each. Lighthouse
// itself is fetched by npx for this alone, at a pinned version; it is too large to install for every test.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const VERSION = "13.5.0";
const LEAST = 95;
const CATEGORIES = ["performance", "accessibility"];

const base = process.env.DIPTYCH_URL?.replace(/\/$/, "");
if (!base) {
  console.error("DIPTYCH_URL must name a running demo");
  process.exit(1);
}

async function first(noun) {
  const response = await fetch(`${base}/api/v1/${noun}`);
  return (await response.json()).items[0]?.id;
}

function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"], env: { CHROME_PATH: "/usr/bin/chromium", ...process.env } });
    let errors = "";
    child.stderr.on("data", (chunk) => (errors += chunk));
    child.on("error", reject);
    child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(errors.slice(-2000)))));
  });
}

const pages = [
  "/",
  "/graphs",
  `/graphs/${await first("graphs?has_candidates=true&limit=1")}`,
  "/pairs",
  `/pairings/${await first("pairings")}`,
  "/votes",
  "/jobs",
  `/jobs/${await first("jobs")}`,
  "/imports",
];
const folder = await mkdtemp(join(tmpdir(), "diptych-lighthouse-"));
const [command, ...prefix] = process.env.LIGHTHOUSE ? [process.env.LIGHTHOUSE] : ["npx", "--yes", `lighthouse@${VERSION}`];
let met = true;
for (const path of pages) {
  const file = join(folder, "report.json");
  await run(command, [
    ...prefix,
    base + path,
    "--preset=desktop",
    `--only-categories=${CATEGORIES}`,
    "--output=json",
    `--output-path=${file}`,
    "--chrome-flags=--headless=new --no-sandbox --disable-gpu --disable-background-networking",
    "--quiet",
  ]);
  const report = JSON.parse(await readFile(file, "utf8"));
  const scores = CATEGORIES.map((name) => Math.round(report.categories[name].score * 100));
  met &&= scores.every((score) => score >= LEAST);
  const failed = CATEGORIES.flatMap((name) => report.categories[name].auditRefs)
    .filter(({ id, weight }) => weight > 0 && report.audits[id].score !== null && report.audits[id].score < 0.9)
    .map(({ id }) => `${id} ${report.audits[id].displayValue ?? ""}`.trim());
  console.log(`${path.replace(/[0-9a-f-]{36}/, "{id}")}: ${CATEGORIES.map((name, place) => `${name} ${scores[place]}`).join(", ")}${failed.length ? ` (${failed.join("; ")})` : ""}`);
}
await rm(folder, { recursive: true, force: true });
process.exit(met ? 0 : 1);
