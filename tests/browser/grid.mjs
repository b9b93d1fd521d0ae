// The graph browser at the paper's size, 2,785 graphs × 4 candidates: how soon its first cards are on the screen, and the
// pace of scrolling, by Chromium's own trace. `make grid` prints a line each and fails where one is not met.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch, openPage } from "./browser.mjs";
import { startServer, stopServer } from "./server.mjs";
import { quantile, traced } from "./trace.mjs";

const GRAPHS = 2785;
const CANDIDATES = 4;
/** Milliseconds from the address to the first cards on the screen. */
const FIRST_CARDS = 500;
/** Milliseconds between frames at 60 a second, and what a clock's grain adds. */
const FRAME = 1000 / 60 + 1;
const VISITS = 7;

const pick = (words, place) => words[place % words.length];

/** Graphs of the shapes world, so that candidates get scores. */
function graphs(count) {
  const shapes = ["circle", "square", "triangle", "star", "diamond", "cross"];
  const colours = ["red", "blue", "green", "yellow", "purple"];
  const predicates = ["left of", "right of", "above", "below"];
  return Array.from({ length: count }, (_, n) => {
    const items = Array.from({ length: 1 + (n % 4) }, (_, k) => ({ item_id: k, label: pick(shapes, n + k * 5), attributes: [pick(colours, n * 3 + k)], global_item_id: k }));
    const relations = items.slice(1).map((_, k) => ({ triple_id: k, item1: k, relation: pick(predicates, n + k), item2: k + 1, global_relation_id: k }));
    return { img_id: `grid-${n}`, name: `grid-${n}`, caption_ori: "", items, relations };
  });
}

async function ask(url, path, body) {
  const init = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(`${url}/api/v1${path}`, init);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

async function finish(url, noun, run) {
  for (;;) {
    const found = await ask(url, `/${noun}/${run.id}`);
    if (found.state === "succeeded") return;
    if (found.state === "failed") throw new Error(JSON.stringify(found.error));
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function fill(url) {
  console.error(`Filling the store: ${GRAPHS} graphs, ${GRAPHS * CANDIDATES} candidates, their scores`);
  await ask(url, "/imports?name=grid.json", graphs(GRAPHS));
  const ids = [];
  for (let cursor = ""; cursor !== null; ) {
    const page = await ask(url, `/graphs?facets=false&limit=200${cursor}`);
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.next_cursor ? `&cursor=${page.next_cursor}` : null;
  }
  const request = { graph_ids: ids, num_candidates: CANDIDATES, num_inference_steps: 1, guidance_scale: 1 };
  await finish(url, "generations", await ask(url, "/generations", request));
  await finish(url, "score-runs", await ask(url, "/score-runs", { answerer: "shapes" }));
}

/** When the first cards were painted, and when their pictures stood in them, in milliseconds from the address on. */
async function firstPaint(browser, url) {
  const { page, context } = await openPage(browser);
  try {
    await page.addInitScript(() => {
      const look = () => {
        if (!document.querySelector(".virtual-grid .graph-card")) return void requestAnimationFrame(look);
        // This frame draws them; the next begins when it is on its way to the screen.
        requestAnimationFrame(() => {
          globalThis.cardsAt = performance.now();
        });
      };
      requestAnimationFrame(look);
    });
    await page.goto(`${url}/graphs`, { waitUntil: "commit" });
    await page.waitForFunction(() => globalThis.cardsAt !== undefined);
    const cards = await page.evaluate(() => globalThis.cardsAt);
    await page.waitForFunction(() => [...document.querySelectorAll(".graph-card .picture img")].filter((image) => image.naturalWidth > 0).length >= 12);
    return { cards, pictures: await page.evaluate(() => performance.now()) };
  } finally {
    await context.close();
  }
}

async function scroll(browser, url) {
  const { page, context } = await openPage(browser);
  try {
    await page.goto(`${url}/graphs`);
    await page.locator(".graph-card").nth(7).waitFor();
    await page.waitForTimeout(1500);
    return await traced(page, () =>
      page.evaluate(
        () =>
          new Promise((resolve) => {
            const began = performance.now();
            const turn = () => {
              scrollBy(0, 20);
              if (performance.now() - began < 5000) requestAnimationFrame(turn);
              else resolve();
            };
            turn();
          }),
      ),
    );
  } finally {
    await context.close();
  }
}

const rows = [];
const row = (what, value, most, unit) => rows.push({ what, value, most, unit });

const data = process.env.DIPTYCH_URL ? null : await mkdtemp(join(tmpdir(), "diptych-grid-"));
const server = data ? startServer(["--data", data, "serve", "--port", "0"]) : null;
let code = 1;
try {
  const url = server ? await server.address : process.env.DIPTYCH_URL.replace(/\/$/, "");
  if ((await ask(url, "/graphs?limit=1&has_candidates=true&facets=false")).total < GRAPHS) await fill(url);
  const browser = await launch();
  const visits = [];
  for (let visit = 0; visit < VISITS; visit += 1) visits.push(await firstPaint(browser, url));
  const sorted = (name) => visits.map((visit) => visit[name]).sort((a, b) => a - b);
  row("first cards on the screen, median", quantile(sorted("cards"), 0.5), FIRST_CARDS, "ms");
  row("their pictures, median", quantile(sorted("pictures"), 0.5), null, "ms");
  const trace = await scroll(browser, url);
  row("frames a second while scrolling 1,200 px/s", trace.frames / trace.seconds, null, "");
  row("gap between frames, median", quantile(trace.gaps, 0.5), FRAME, "ms");
  row("gap between frames, 95 %", quantile(trace.gaps, 0.95), null, "ms");
  await browser.close();
  for (const { what, value, most, unit } of rows) {
    const met = most === null ? "" : value <= most ? " (reach" : " (NOT MET: reach";
    console.log(`${what}: ${value.toFixed(1)} ${unit}${met && `${met} ${most.toFixed(0)})`}`);
  }
  code = rows.every(({ value, most }) => most === null || value <= most) ? 0 : 1;
} catch (error) {
  console.error(error);
} finally {
  if (server) await stopServer(server.child);
  if (data) await rm(data, { recursive: true, force: true, maxRetries: 5, retryDelay: 500 });
}
process.exit(code);
