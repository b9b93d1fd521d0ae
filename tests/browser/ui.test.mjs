// The pages of a finished demo, as a person sees them. DIPTYCH_URL names the server; `node run.mjs` starts one.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { openPage, picturesShown, testBench } from "./browser.mjs";

const bench = testBench();
const { base, api, visit } = bench;

const SCORE = /\b[01]\.\d\d\b/;

test("the overview shows the demo's stages and its result", async () => {
  await visit("/", async (page) => {
    await page.getByTestId("figures").waitFor();
    assert.match(await page.getByTestId("figures").innerText(), /Mean score\s+0\.\d{3}/);
    await page.getByTestId("delta").first().waitFor();
    assert.match(await page.getByTestId("trained-score").first().innerText(), /^[01]\.\d{3}$/);
    assert.match(await page.getByTestId("sampling").first().innerText(), /guidance scale [0-9.]+ in [0-9]+ steps/);
    await picturesShown(page, 4);
  });
});

test("the graph browser shows pictures and scores, filters by the address, and goes back", async () => {
  await visit("/graphs", async (page) => {
    await picturesShown(page, 8, ".graph-card .picture img");
    assert.match(await page.locator(".strip-score").first().innerText(), SCORE);
    assert.ok((await page.locator(".graph-thumbnail").count()) > 2, "graphs are drawn on the cards");
    const before = await page.locator(".graph-card").count();
    await page.locator('fieldset:has(legend:text("split")) .facet-row', { hasText: "train" }).click();
    await page.waitForURL(/split=train/);
    await page.getByRole("button", { name: "Remove the filter split" }).waitFor();
    await page.goBack();
    await page.waitForURL(/\/graphs$/);
    await page.getByRole("button", { name: "Remove the filter split" }).waitFor({ state: "detached" });
    await page.waitForFunction((wanted) => document.querySelectorAll(".graph-card").length === wanted, before);
    await page.locator(".graph-card").first().click();
    await page.waitForURL(/\/graphs\/[0-9a-f-]{36}/);
  });
});

test("a graph's page ties nodes, questions and candidates together", async () => {
  const { items } = await api("/graphs?has_candidates=true&sort=spread&limit=20");
  const graph = items.find(({ relations }) => relations.length > 0) ?? items[0];
  await visit(`/graphs/${graph.id}`, async (page) => {
    await picturesShown(page, 4, ".candidate .picture img");
    assert.match(await page.locator(".candidate").first().innerText(), SCORE);
    const rows = page.locator(".matrix tbody tr");
    await rows.first().waitFor();
    assert.ok((await page.locator(".matrix .answer-yes").count()) > 0, "some answer is yes");
    await rows.last().hover();
    assert.equal(await page.locator(".matrix tbody tr.lit").count(), 1);
    assert.ok((await page.locator(".graph-part.lit").count()) > 0, "the question lights up its node");
    await page.locator(".graph-part").last().hover();
    assert.ok((await page.locator(".matrix tbody tr.lit").count()) > 0, "the node lights up its questions");
    await page.getByRole("button", { name: "Provenance" }).first().click();
    const { items: candidates } = await api(`/graphs/${graph.id}/candidates`);
    const text = await page.locator(".candidate .facts").first().innerText();
    assert.match(text, /Seed\s+-?\d+/);
    assert.ok(text.includes(candidates[0].generation.model_hash.slice(0, 12)), "the model's hash is shown");
  });
});

test("the workbench follows its sliders", async () => {
  await visit("/pairs", async (page) => {
    const count = page.locator(".preview-figures .figure").first();
    await page.waitForFunction(() => /\d/.test(document.querySelector(".preview-figures .figure")?.textContent ?? ""));
    const before = Number((await count.innerText()).replaceAll(",", ""));
    await page.getByLabel("Least margin").fill("0.9");
    await page.waitForURL(/margin=0.9/);
    await page.waitForFunction(
      (old) => Number(document.querySelector(".preview-figures .figure")?.textContent?.replaceAll(",", "")) < old,
      before,
    );
  });
});

test("a pair shows winner and loser and what they differ in", async () => {
  const { items } = await api("/pairings");
  assert.ok(items.length > 0, "the demo froze its pairs");
  await visit(`/pairings/${items[0].id}`, async (page) => {
    await picturesShown(page, 2, ".diptych .picture img");
    await page.locator(".diptych").first().click();
    await page.waitForURL(/pair=\d+/);
    const view = page.getByTestId("pair-view");
    await view.waitFor();
    await picturesShown(page, 2, ".pair .picture img");
    assert.ok((await page.locator(".pair-questions li").count()) > 0, "they differ in a question");
    assert.match(await page.locator(".pair-score").first().innerText(), SCORE);
    const first = page.url();
    await page.keyboard.press("ArrowRight");
    await page.waitForURL((url) => String(url) !== first);
  });
});

test("a job shows its curves, its samples and its result", async () => {
  const { items } = await api("/jobs");
  const job = items.find(({ state }) => state === "succeeded");
  assert.ok(job, "the demo trained");
  await visit(`/jobs/${job.id}`, async (page) => {
    await page.locator(".curve canvas").first().waitFor();
    // A curve is there when its canvas holds more than the axes' greys.
    await page.waitForFunction(() => {
      const canvas = document.querySelector(".curve canvas");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let coloured = 0;
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] > 60 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 60) coloured += 1;
      }
      return coloured > 20;
    });
    assert.match(await page.locator(".curve-value").first().innerText(), /\d/);
    await picturesShown(page, 2, ".diptych .picture img");
    await page.locator(".log li", { hasText: "state" }).first().waitFor();
    assert.match(await page.getByTestId("delta").innerText(), /^[+−]\d\.\d{3}$/);
  });
});

test("a file can be imported, and a bad record says why it was rejected", async () => {
  await visit("/imports", async (page) => {
    const good = { img_id: "browser-1", name: "browser-1", caption_ori: "", items: [{ item_id: 0, label: "circle", attributes: ["red"], global_item_id: 0 }], relations: [] };
    const bad = { ...good, img_id: "browser-2", relations: [{ triple_id: 0, item1: 0, relation: "above", item2: 9, global_relation_id: 0 }] };
    await page.setInputFiles('input[type="file"]', { name: "browser.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify([good, bad])) });
    await page.waitForURL(/\/imports\/[0-9a-f-]{36}/);
    await page.getByText("Rejected records").waitFor();
    assert.match(await page.locator('section[aria-label="Rejected records"]').innerText(), /\/relations|rejected|item2/i);
  });
});

test("every page is accessible, in dark and in light", async () => {
  const source = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  const { items: graphs } = await api("/graphs?has_candidates=true&limit=1");
  const { items: pairings } = await api("/pairings");
  const { items: jobs } = await api("/jobs");
  // With the boxes and the inversion that inversion.test.mjs made.
  const { items: candidates } = await api(`/graphs/${graphs[0].id}/candidates`);
  const addresses = ["/", "/graphs", `/graphs/${graphs[0].id}?inversion=${candidates[1].id}`, "/pairs", `/pairings/${pairings[0].id}?pair=0`, "/votes", "/jobs?new=1", `/jobs?compare=${jobs.slice(0, 2).map(({ id }) => id)}`, `/jobs/${jobs[0].id}`, "/imports", "/access"];
  const found = [];
  for (const colorScheme of ["dark", "light"]) {
    for (const address of addresses) {
      // The axe script is ours, injected past the page's policy that allows only its own files.
      const { page, context } = await openPage(bench.browser, { colorScheme, bypassCSP: true });
      await page.goto(base + address);
      await page.waitForTimeout(900);
      await page.evaluate(source);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"] }));
      for (const { id, nodes } of violations) {
        found.push(...nodes.slice(0, 3).map((node) => `${colorScheme} ${address} ${id}: ${node.target} ${node.failureSummary}`));
      }
      await context.close();
    }
  }
  assert.deepEqual(found, []);
});

test("a window of 700 pixels needs no sideways scrolling", async () => {
  const { items: graphs } = await api("/graphs?has_candidates=true&limit=1");
  const { items: jobs } = await api("/jobs");
  for (const address of ["/", "/graphs", `/graphs/${graphs[0].id}`, "/pairs", "/votes", "/jobs?new=1", `/jobs/${jobs[0].id}`, "/imports", "/access"]) {
    await visit(
      address,
      async (page) => {
        await page.waitForTimeout(600);
        const excess = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(excess <= 0, `${address} is ${excess} px too wide`);
      },
      { viewport: { width: 700, height: 900 } },
    );
  }
});
