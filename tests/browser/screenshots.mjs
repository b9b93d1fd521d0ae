// Writes docs/images/*.png from a running server: DIPTYCH_URL=http://127.0.0.1:8080 npm run screenshots
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { launch, openPage } from "./browser.mjs";

const base = (process.env.DIPTYCH_URL ?? "http://127.0.0.1:8080").replace(/\/$/, "");
const folder = process.env.OUT ?? fileURLToPath(new URL("../../docs/images/", import.meta.url));
await mkdir(folder, { recursive: true });

const api = async (path) => (await fetch(`${base}/api/v1${path}`)).json();
const { items: graphs } = await api("/graphs?has_candidates=true&sort=spread&limit=40");
const { items: pairings } = await api("/pairings?limit=1");
const { items: jobs } = await api("/jobs?limit=20");
const graph = graphs.find(({ relations }) => relations.length >= 2) ?? graphs[0];
const demo = await api("/demo");
const finished = jobs.filter(({ state }) => state === "succeeded");
// The demo's headline, whichever objective did better.
const job = finished.find(({ spec }) => spec.objective?.name === demo.summary?.objective) ?? finished[0] ?? jobs[0];

const browser = await launch();

/** Waits for the fonts and for every picture in the window; those below it load when somebody scrolls there. */
async function everythingShown(page) {
  await page.evaluate(() => document.fonts.ready);
  await page.waitForFunction(
    () =>
      [...document.images].every((image) => {
        const { top, bottom } = image.getBoundingClientRect();
        return bottom < 0 || top > window.innerHeight || (image.complete && image.naturalWidth > 0);
      }),
    undefined,
    { timeout: 60_000 },
  );
  // The last curve and the last transition.
  await page.waitForTimeout(700);
}

/** Waits until the candidate's inversion is there, as the page asks for it by default. */
async function inverted(candidate) {
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ candidate_id: candidate }) };
  const { id } = await (await fetch(`${base}/api/v1/inversions`, init)).json();
  for (let state = ""; state !== "succeeded"; ) {
    ({ state } = await api(`/inversions/${id}`));
    if (state === "failed") throw new Error(`the inversion ${id} failed`);
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  return candidate;
}

/** One picture: of the window, or of `selector` alone. */
async function shoot(name, path, { colorScheme = "light", selector, height = 900, width = 1360, scale = 1 } = {}) {
  const { page, context } = await openPage(browser, { colorScheme, viewport: { width, height }, deviceScaleFactor: scale });
  await page.goto(base + path);
  await page.waitForLoadState("networkidle", { timeout: 4000 }).catch(() => {});
  const target = selector ? page.locator(selector).first() : page;
  if (selector) await target.scrollIntoViewIfNeeded();
  await everythingShown(page);
  await target.screenshot({ path: `${folder}/${name}.png`, animations: "disabled" });
  console.log(`${name}.png`);
  await context.close();
}

await shoot("overview", "/");
await shoot("overview-dark", "/", { colorScheme: "dark" });
await shoot("graphs", "/graphs?sort=spread");
if (graph) await shoot("graph", `/graphs/${graph.id}`, { colorScheme: "dark" });
if (graph) {
  const { items: candidates } = await api(`/graphs/${graph.id}/candidates`);
  const id = await inverted(candidates[0].id);
  await shoot("inversion", `/graphs/${graph.id}?inversion=${id}`, { selector: 'section[aria-label="Inversion against sampling"]' });
}
await shoot("pairs", "/pairs");
if (pairings[0]) await shoot("pair", `/pairings/${pairings[0].id}?pair=0`, { colorScheme: "dark" });
if (job) {
  await shoot("job", `/jobs/${job.id}`, { height: 1240 });
  // Base beside trained, the same graph and the same noise, unsorted: the picture of the README.
  await shoot("trained-versus-base", `/jobs/${job.id}`, { selector: ".evaluation-images", scale: 2 });
}
await browser.close();
