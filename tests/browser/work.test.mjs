// What people do in the pages of a finished demo: vote, pair, look closely, generate, compare, start a job.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage, picturesShown, testBench } from "./browser.mjs";

const bench = testBench();
const { base, api, visit } = bench;

const captionOf = (page) => page.locator(".vote-left .picture img").getAttribute("src");

test("ten pairs are voted on by keys, one is taken back, and the scores' agreement follows", async () => {
  const voter = `browser-${Date.now()}`;
  const { remaining } = await api(`/votes/queue?voter=${voter}`);
  assert.ok(remaining > 10, "the demo has pairs to judge");
  await visit(`/votes?voter=${voter}`, async (page) => {
    await picturesShown(page, 2, ".vote-pictures img");
    assert.doesNotMatch(await page.locator("section[aria-label='Pair to judge']").innerText(), /\b[01]\.\d\d\b/, "no score is shown");
    const keys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "s", "ArrowLeft", "ArrowRight", "ArrowLeft", "ArrowRight", "ArrowLeft"];
    const times = [];
    for (const key of keys) {
      const shown = await captionOf(page);
      // Pairs of one graph share pictures: the pair is known by both.
      const other = await page.locator(".vote-right .picture img").getAttribute("src");
      times.push(
        await page.evaluate(
          async ([key, left, right]) => {
            const sources = () => ["left", "right"].map((side) => document.querySelector(`.vote-${side} img`)?.getAttribute("src"));
            const started = performance.now();
            dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
            for (;;) {
              const ready = [...document.querySelectorAll(".vote-pictures img")].every((image) => image.complete && image.naturalWidth > 0);
              if (String(sources()) !== String([left, right]) && ready) return performance.now() - started;
              if (performance.now() - started > 5000) throw new Error("no next pair in 5 s");
              await new Promise(requestAnimationFrame);
            }
          },
          [key, shown, other],
        ),
      );
    }
    times.sort((a, b) => a - b);
    console.log(`vote to next pair: median ${times[5].toFixed(0)} ms, slowest ${times[9].toFixed(0)} ms`);
    assert.match(await page.getByTestId("vote-progress").innerText(), /^10 of /);
    await page.locator(".agreement-row").first().waitFor();

    await page.keyboard.press("z");
    await page.waitForFunction(() => /^9 of /.test(document.querySelector("[data-testid=vote-progress]")?.textContent ?? ""));
    // Votes travel one at a time, behind the pages: what was cast arrives in its order, and what was taken back goes.
    const expected = ["left", "right", "both_good", "both_bad", "skip", "left", "right", "left", "right"];
    const choices = async () => (await api(`/votes?voter=${voter}`)).items.map(({ choice }) => choice).reverse();
    const until = Date.now() + 20_000;
    while (String(await choices()) !== String(expected) && Date.now() < until) await page.waitForTimeout(50);
    await page.waitForLoadState("networkidle");
    assert.deepEqual(await choices(), expected);
  });
});

test("a vote that does not arrive brings its pair back", async () => {
  const { page, context } = await openPage(bench.browser);
  try {
    await page.route("**/api/v1/votes", (route) => (route.request().method() === "POST" ? route.abort() : route.continue()));
    await page.goto(`${base}/votes?voter=offline-${Date.now()}`);
    await picturesShown(page, 2, ".vote-pictures img");
    const shown = await captionOf(page);
    await page.keyboard.press("ArrowLeft");
    await page.getByRole("alert").waitFor();
    assert.equal(await captionOf(page), shown);
    assert.match(await page.getByTestId("vote-progress").innerText(), /^0 of /);
  } finally {
    await context.close();
  }
});

test("votes are a source of pairs", async () => {
  await visit("/pairs?dpg=0&votes=1&margin=0", async (page) => {
    await page.waitForFunction(() => Number(document.querySelector(".preview-figures .figure")?.textContent) > 0);
    assert.match(await page.locator('section[aria-label="Policy"]').innerText(), /share of the votes/);
  });
});

test("two snapshots are frozen and compared", async () => {
  const names = [`browser strict ${Date.now()}`, `browser loose ${Date.now()}`];
  await visit("/pairs", async (page) => {
    for (const [name, select] of [
      [names[0], ""],
      [names[1], "all_above_margin"],
    ]) {
      await page.goto(`${base}/pairs?margin=0.11${select ? `&select=${select}` : ""}`);
      await page.getByLabel("Name of the snapshot").fill(name);
      await page.getByRole("button", { name: /^Freeze \d/ }).click();
      await page.waitForURL(/\/pairings\/[0-9a-f-]{36}/);
    }
    await page.goto(`${base}/pairs`);
    await page.locator("input[aria-label^='Compare']").nth(0).check();
    await page.locator("input[aria-label^='Compare']").nth(1).check();
    await page.waitForURL(/compare=/);
    const comparison = page.getByTestId("comparison");
    await comparison.locator(".figure").nth(3).waitFor();
    const counts = (await comparison.locator(".figure").allInnerTexts()).map((text) => Number(text.replaceAll(",", "")));
    const [a, b] = await Promise.all(
      new URL(page.url()).searchParams.get("compare").split(",").map((id) => api(`/pairings/${id}`)),
    );
    assert.equal(counts[0] + counts[1] + counts[2], a.num_pairs);
    assert.equal(counts[0] + counts[1] + counts[3], b.num_pairs);
  });
});

test("a pair is zoomed on both sides at once, and judged blind", async () => {
  const { items } = await api("/pairings");
  await visit(`/pairings/${items.at(-1).id}?pair=0`, async (page) => {
    await picturesShown(page, 2, ".pair .picture img");
    const questions = await page.locator(".pair-questions").boundingBox();
    const pictures = await page.locator(".pair").boundingBox();
    assert.ok(questions.y < pictures.y, "the questions stand above the pictures");
    await page.getByRole("button", { name: "Zoom in" }).first().click();
    const transforms = () => page.locator(".pair .picture img").evaluateAll((images) => images.map((image) => getComputedStyle(image).transform));
    const [left, right] = await transforms();
    assert.match(left, /^matrix\(1\.6, 0, 0, 1\.6/);
    assert.equal(left, right);
    const box = await page.locator(".pair .zoomable").first().boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 2 + 40, box.y + box.height / 2 + 25, { steps: 4 });
    await page.mouse.up();
    const moved = await transforms();
    assert.equal(moved[0], moved[1]);
    assert.notEqual(moved[0], left);

    await page.keyboard.press("b");
    await page.waitForURL(/blind=1/);
    const view = page.getByTestId("pair-view");
    assert.doesNotMatch(await view.innerText(), /winner|loser|\b[01]\.\d\d\b/);
    await page.getByRole("button", { name: "Reveal" }).click();
    assert.match(await view.innerText(), /winner/);
  });
});

test("new candidates are made and scored from a graph's page", async () => {
  const { items } = await api("/graphs?has_candidates=true&limit=1");
  await visit(`/graphs/${items[0].id}`, async (page) => {
    await picturesShown(page, 4, ".candidate .picture img");
    assert.match(await page.locator(".answer-probability").first().innerText(), /^[01]\.\d\d$/);
    const form = page.locator('section[aria-label="Make and score again"]');
    await form.getByLabel("Seed").fill(String(Date.now() % 100_000));
    await form.getByLabel("Candidates").fill("2");
    await form.getByLabel("Steps").fill("2");
    await form.getByRole("button", { name: "Generate and score" }).click();
    await page.waitForFunction(() => /2 of 2 scored/.test(document.querySelector("[data-testid=run]")?.textContent ?? ""), undefined, { timeout: 120_000 });
    await page.getByLabel("Generation shown").waitFor();
    await page.waitForFunction(() => document.querySelectorAll(".candidate").length === 2 && document.querySelectorAll(".candidate .score-row").length > 0);
  });
});

test("jobs are compared, and one is started from the schema's form", async () => {
  const { items: before } = await api("/jobs");
  await visit("/jobs", async (page) => {
    const boxes = page.locator("input[aria-label^='Compare']");
    await boxes.first().waitFor();
    if ((await boxes.count()) > 1) {
      await boxes.nth(0).check();
      await boxes.nth(1).check();
      await page.getByTestId("job-comparison").locator("canvas").first().waitFor();
      assert.ok((await page.getByTestId("job-comparison").locator("tbody tr").count()) > 1, "the settings that differ are listed");
    }
    await page.getByRole("button", { name: "New job" }).click();
    const form = page.getByRole("form", { name: "Start a job" });
    await form.getByText(/All settings/).click();
    // Every field of the schema is there, with its default.
    const { components } = await api("/openapi.json");
    const properties = components.schemas.CreateJobRequest.properties;
    assert.equal(await form.getByLabel(/^Checkpoint every/i).inputValue(), String(properties.checkpoint_every.default));
    await form.getByLabel(/^Max steps/i).fill("0");
    await form.getByRole("button", { name: "Start training" }).click();
    await form.locator("input[aria-invalid]").waitFor();
    await form.getByLabel(/^Max steps/i).fill("2");
    await form.getByLabel(/^Warmup steps/i).fill("0");
    await form.getByLabel(/^Batch size/i).fill("2");
    await form.getByLabel(/^Name/i).fill("from the browser");
    await form.getByRole("button", { name: "Start training" }).click();
    await page.waitForURL(/\/jobs\/[0-9a-f-]{36}/);
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Really cancel?" }).click();
    await page.locator(".chip", { hasText: /cancel/ }).first().waitFor();
    // The refused request is a 422, which Chromium reports by itself.
  }, { refused: /status of 422/ });
  const { items: afterwards } = await api("/jobs");
  assert.equal(afterwards.length, before.length + 1);
  assert.equal(afterwards[0].spec.max_steps, 2);
});

test("a job that was paused goes on in its page once it is resumed", async () => {
  const { items: pairings } = await api("/pairings");
  const asked = await fetch(`${base}/api/v1/jobs`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      pairing_id: pairings.at(-1).id, name: "paused", max_steps: 100_000, batch_size: 2, warmup_steps: 0,
      sample_every: 10, sample_graphs: 1, checkpoint_every: 100_000, evaluation: { every: 100_000 },
    }),
  });
  assert.equal(asked.status, 202, await asked.clone().text());
  const { id } = await asked.json();
  await visit(`/jobs/${id}`, async (page) => {
    const slider = page.getByLabel("Training step of the samples");
    await slider.waitFor({ timeout: 60_000 });
    await page.getByRole("button", { name: "Pause" }).click();
    await page.locator(".chip", { hasText: "paused" }).first().waitFor();
    const { items: before } = await api(`/jobs/${id}/samples`);
    const last = Math.max(...before.map(({ step }) => step));
    await page.getByRole("button", { name: "Resume" }).click();
    await page.waitForFunction(
      (seen) => Number(document.querySelector("[aria-label='Training step of the samples']")?.getAttribute("aria-valuetext")?.replace(/\D/g, "")) > seen,
      last,
      { timeout: 60_000 },
    );
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Really cancel?" }).click();
    await page.locator(".chip", { hasText: /cancel/ }).first().waitFor();
  });
});

test("nothing on the pages jumps while they load", async () => {
  const { items: graphs } = await api("/graphs?has_candidates=true&limit=1");
  const { items: jobs } = await api("/jobs");
  const { items: pairings } = await api("/pairings");
  const job = jobs.find(({ state }) => state === "succeeded") ?? jobs[0];
  const paths = ["/", "/graphs", `/graphs/${graphs[0].id}`, "/votes", "/pairs", `/pairings/${pairings[0].id}`, "/jobs", `/jobs/${job.id}`, "/imports"];
  const found = [];
  // Answers come late and in another order than they were asked for, as on a busy machine.
  for (const delays of [[0], [400, 50, 250, 0, 120]]) {
    for (const path of paths) {
      const { page, context } = await openPage(bench.browser);
      let asked = 0;
      await page.route("**/api/v1/**", async (route) => {
        const delay = delays[asked++ % delays.length];
        if (delay) await new Promise((done) => setTimeout(done, delay));
        await route.continue().catch(() => {});
      });
      await page.addInitScript(() => {
        globalThis.shift = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) if (!entry.hadRecentInput) globalThis.shift += entry.value;
        }).observe({ type: "layout-shift", buffered: true });
      });
      await page.goto(base + path);
      await page.waitForTimeout(Math.max(...delays) * 2 + 900);
      const shift = await page.evaluate(() => globalThis.shift);
      // "Good" by the web vitals is below 0.1.
      if (shift >= 0.1) found.push(`${path} shifts by ${shift.toFixed(3)} with delays ${delays}`);
      await context.close();
    }
  }
  assert.deepEqual(found, []);
});
