// The figure of a picture's sampling path against its inversion, and what a detector found in pictures.
import assert from "node:assert/strict";
import { test } from "node:test";
import { picturesShown, testBench } from "./browser.mjs";

const bench = testBench();
const { base, api, visit } = bench;

const settled = async (noun, id) => {
  for (const until = Date.now() + 120_000; Date.now() < until; ) {
    const found = await api(`/${noun}/${id}`);
    if (["succeeded", "failed"].includes(found.state)) return found;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`${noun}/${id} took longer than two minutes`);
};

test("a candidate's paths are compared on its graph's page", async () => {
  const { items } = await api("/graphs?has_candidates=true&limit=1");
  await visit(`/graphs/${items[0].id}`, async (page) => {
    const panel = page.getByRole("region", { name: "Inversion against sampling" });
    await panel.getByText("Not inverted with these settings yet").waitFor();
    // The second candidate, by the button below its picture.
    await page.locator(".candidate").nth(1).getByRole("button", { name: "Paths" }).click();
    await page.waitForURL(/inversion=/);
    const candidate = new URL(page.url()).searchParams.get("inversion");
    await panel.getByRole("button", { name: "Compare the paths" }).click();
    const figure = panel.getByTestId("inversion-figure");
    await figure.waitFor({ timeout: 60_000 });
    await picturesShown(page, 12, ".path-pictures .picture img");

    const { items: made } = await api(`/inversions?candidate_id=${candidate}`);
    assert.equal(made.length, 1);
    const { result } = made[0];
    assert.equal(result.inverted.length, 51);
    // What is drawn is what was found.
    assert.equal(await figure.locator(".plane circle").count(), result.sampled.length + result.inverted.length);
    assert.match(await figure.locator(".figure").first().innerText(), new RegExp(`^${Number(result.terminal_std.toPrecision(4))}$`));
    const worst = Math.max(...result.inverted.map(({ deviation }) => deviation ?? 0));
    assert.match(await figure.locator(".curve-value").first().innerText(), new RegExp(`at most, at t = \\d+: ${Number(worst.toPrecision(worst < 0.01 ? 3 : 4))}`));
    // A timestep under the pointer is marked on both paths.
    const box = await figure.locator("canvas").first().boundingBox();
    await page.mouse.move(box.x + box.width * 0.6, box.y + box.height / 2);
    await page.waitForFunction((points) => document.querySelectorAll(".plane circle").length === points + 2, result.sampled.length + result.inverted.length);

    // The same request again finds the same: no second row, and the figure is there at once.
    await page.goto(`${base}/graphs/${items[0].id}?inversion=${candidate}`);
    await figure.waitFor();
    await panel.getByRole("button", { name: "Compare the paths" }).click();
    await figure.waitFor();
    assert.equal((await api(`/inversions?candidate_id=${candidate}`)).total, 1);

    await panel.getByLabel("Inversion steps").fill("0");
    await panel.getByRole("button", { name: "Compare the paths" }).click();
    await panel.getByRole("alert").waitFor();
  }, { refused: /status of 422/ });
});

test("any example of a job shows its paths, with the job's own settings", async () => {
  const { items: jobs } = await api("/jobs");
  const job = jobs.find(({ spec }) => typeof spec.objective.num_inversion_steps === "number") ?? jobs[0];
  const { items: pairs, total } = await api(`/pairings/${job.pairing_id}/pairs?from=2&limit=1`);
  await visit(`/jobs/${job.id}`, async (page) => {
    const panel = page.getByRole("region", { name: "Inversion against sampling" });
    await panel.getByLabel("Number of the example").fill("3");
    await page.keyboard.press("Enter");
    await page.waitForURL(/example=3/);
    await panel.getByText(`of ${total.toLocaleString("en-US")}`).waitFor();
    await panel.getByRole("button", { name: "loser" }).click();
    await page.waitForURL(/side=loser/);
    await panel.locator(`img[src="${pairs[0].loser.image_url}"]`).waitFor();
    assert.equal(await panel.getByLabel("Inversion steps").inputValue(), String(job.spec.objective.num_inversion_steps ?? 50));
    await panel.getByLabel("Inversion steps").fill("8");
    await panel.getByRole("button", { name: "Compare the paths" }).click();
    await panel.getByTestId("inversion-figure").waitFor({ timeout: 60_000 });
    assert.equal((await api(`/inversions?candidate_id=${pairs[0].loser.id}`)).items[0].num_inference_steps, 8);
  });
});

test("boxes that a detector found and the graph light each other up", async () => {
  const { items } = await api("/graphs?has_candidates=true&limit=1");
  const { items: candidates } = await api(`/graphs/${items[0].id}/candidates`);
  const response = await fetch(`${base}/api/v1/score-runs`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ answerer: "shapes-boxes", generation_id: candidates[0].generation.id }),
  });
  assert.equal((await settled("score-runs", (await response.json()).id)).state, "succeeded");
  // A graph of whose things the detector found one.
  for (const graph of (await api("/graphs?has_candidates=true&sort=best_score&limit=40")).items) {
    const { items: seen } = await api(`/graphs/${graph.id}/candidates`);
    const labels = graph.objects.map(({ label }) => label);
    const place = seen.findIndex(({ detections }) => detections.some(({ label }) => labels.includes(label)));
    if (place < 0) continue;
    const found = seen[place].detections.find(({ label }) => labels.includes(label));
    await visit(`/graphs/${graph.id}`, async (page) => {
      await picturesShown(page, 4, ".candidate .picture img");
      const box = page.locator(".candidate").nth(place).locator(`.detection[aria-label^="${found.label}"]`).first();
      const frame = await page.locator(".candidate").nth(place).locator(".picture").boundingBox();
      const drawn = await box.boundingBox();
      assert.ok(Math.abs(drawn.x - frame.x - Math.max(0, found.box[0]) * frame.width) < 3, "the box lies where the detector saw it");
      await box.hover();
      await page.locator(".graph-part.lit", { hasText: found.label }).first().waitFor();
      await page.locator(".matrix tr.lit").first().waitFor();
      await page.mouse.move(5, 5);
      await page.locator(".graph-part", { hasText: found.label }).first().hover();
      await page.locator(".detection.lit").first().waitFor();
    });
    return;
  }
  assert.fail("the detector found nothing that a graph names");
});
