// What curators do: tag, collect, reword and take back; data in and out; what a job costs; who may do what.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage, picturesShown, testBench } from "./browser.mjs";

const bench = testBench();
const { base, api, visit } = bench;

test("many graphs are tagged and collected at once, and it is taken back", async () => {
  const tag = `browser ${Date.now()}`;
  const { total } = await api("/graphs?split=held_out&limit=1");
  await visit("/graphs?split=held_out", async (page) => {
    // Held-out graphs of a demo have no candidates.
    await page.locator(".graph-card").nth(1).waitFor();
    await page.locator(".card-choice input").nth(0).check();
    await page.locator(".card-choice input").nth(1).check();
    const bar = page.getByRole("region", { name: "Chosen graphs" });
    assert.match(await bar.innerText(), /2 graphs/);
    await bar.getByLabel("Tag", { exact: true }).fill(tag);
    await bar.getByRole("button", { name: "Add tag" }).click();
    await page.locator(".edit-notice", { hasText: `Tagged 2 graphs` }).waitFor();
    assert.equal((await api(`/graphs?tag=${encodeURIComponent(tag)}&limit=1`)).total, 2);
    await page.locator(".graph-card-tags", { hasText: tag }).nth(1).waitFor();
    await page.locator(".edit-notice").getByRole("button", { name: "Undo" }).click();
    await page.locator(".edit-notice", { hasText: "Taken back" }).waitFor();
    assert.equal((await api(`/graphs?tag=${encodeURIComponent(tag)}&limit=1`)).total, 0);

    // All of the list, into a collection that this makes.
    await bar.getByRole("button", { name: `All ${total.toLocaleString("en-US")}` }).click();
    await bar.getByLabel("Collection").fill(tag);
    await bar.getByRole("button", { name: "Create and add" }).click();
    await page.locator(".edit-notice", { hasText: "Put " }).waitFor();
    const { items } = await api("/collections?limit=200");
    assert.equal(items.find(({ name }) => name === tag).num_graphs, total);
    await page.locator('fieldset:has(legend:text("collection")) .facet-row', { hasText: tag }).click();
    await page.waitForURL(/collection_id=/);

    await page.goto(`${base}/imports`);
    const panel = page.getByRole("region", { name: "Collections" });
    await panel.getByRole("button", { name: `Delete ${tag}` }).click();
    await panel.getByRole("button", { name: `Really delete ${tag}` }).click();
    await panel.getByRole("link", { name: tag }).waitFor({ state: "detached" });
  });
});

test("a graph is tagged and reworded on its page, and both are taken back", async () => {
  const { items } = await api("/graphs?sort=newest&limit=1");
  const [graph] = items;
  await visit(`/graphs/${graph.id}`, async (page) => {
    await page.getByLabel("Add a tag").fill("look again");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Take the tag look again off" }).click();
    await page.getByRole("button", { name: "Take the tag look again off" }).waitFor({ state: "detached" });
    assert.deepEqual((await api(`/graphs/${graph.id}`)).tags, []);

    await page.getByRole("button", { name: "Reword" }).click();
    const editor = page.getByLabel("Document", { exact: true }).locator("textarea").or(page.locator(".document-edit"));
    const document = JSON.parse(await editor.first().inputValue());
    document.items[0].attributes = [...document.items[0].attributes, "shiny"];
    await editor.first().fill(JSON.stringify(document));
    await page.getByRole("button", { name: "Save as a new revision" }).click();
    await page.waitForURL((url) => !url.pathname.endsWith(graph.id) && /\/graphs\/[0-9a-f-]{36}$/.test(url.pathname));
    await page.locator('[aria-label="Revisions"] li').nth(1).waitFor();
    await page.locator(".edit-notice").getByRole("button", { name: "Undo" }).click();
    await page.waitForURL((url) => url.pathname.endsWith(graph.id));
    assert.equal((await api(`/graphs/${graph.id}`)).is_current, true);
  });
});

test("the form of a job says what it would cost, and follows its fields", async () => {
  await visit("/jobs?new=1", async (page) => {
    const seconds = (text) => {
      const [, minutes = "0"] = /(\d+) min/.exec(text) ?? [];
      const [, rest = "0"] = /([\d.]+) s/.exec(text) ?? [];
      const [, hours = "0"] = /(\d+) h/.exec(text) ?? [];
      return Number(hours) * 3600 + Number(minutes) * 60 + Number(rest);
    };
    const figure = page.getByTestId("job-cost").locator(".job-cost-figure").first();
    await page.waitForFunction(() => /\d/.test(document.querySelector(".job-cost-figure")?.textContent ?? ""), undefined, { timeout: 60_000 });
    const before = await figure.innerText();
    await page.getByLabel(/^Max steps/i).fill("30000");
    await page.waitForFunction((old) => !document.querySelector(".job-cost.stale") && document.querySelector(".job-cost-figure")?.textContent !== old, before);
    assert.ok(seconds(await figure.innerText()) > seconds(before), "more steps take longer");
    assert.equal((await api("/jobs")).items.some(({ spec }) => spec.max_steps === 30_000), false, "nothing was started");
  });
});

test("pairs are exported with their data card, and captions imported", async () => {
  await visit("/imports", async (page) => {
    const form = page.getByRole("form", { name: "Export" });
    await form.getByLabel("Format").selectOption("jsonl");
    await form.getByLabel("Licence").fill("CC0-1.0");
    await form.getByRole("button", { name: "Export" }).click();
    const file = page.getByRole("region", { name: "Exports" }).getByRole("link", { name: "pairs.jsonl" }).first();
    await file.waitFor({ timeout: 60_000 });
    const text = await (await fetch(base + (await file.getAttribute("href")))).text();
    assert.ok(JSON.parse(text.split("\n")[0]), "a line is JSON");

    const words = `a quiet red circle left of a blue square number ${Date.now()}`;
    await page.setInputFiles('input[type="file"]', { name: "captions.txt", mimeType: "text/plain", buffer: Buffer.from(`${words}\n`) });
    await page.waitForURL(/\/imports\/[0-9a-f-]{36}/);
    const summary = await api(`/imports/${new URL(page.url()).pathname.split("/").at(-1)}`);
    assert.deepEqual([summary.format, summary.accepted], ["prompts", 1]);
    await page.locator("tr.lit", { hasText: "Captions" }).waitFor();
  });
});

test("a token is made, shown once, seen in the log, signed in with and revoked", async () => {
  const name = `browser ${Date.now()}`;
  const { page, context } = await openPage(bench.browser);
  try {
    await page.goto(`${base}/access`);
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("curate").check();
    await page.getByRole("button", { name: "Make token" }).click();
    const secret = await page.getByLabel("Secret").inputValue();
    assert.match(secret, /^diptych_[0-9a-f]{64}$/);
    const { items } = await api("/tokens?limit=200");
    const token = items.find((one) => one.name === name);
    assert.deepEqual(token.scopes, ["curate", "read"]);
    await page.getByRole("button", { name: "Done" }).click();
    assert.equal(await page.getByText(secret).count(), 0);
    await page.getByRole("region", { name: "Audit log" }).getByRole("button", { name: "Newest" }).click();
    await page.locator(".audit tr", { hasText: "/api/v1/tokens" }).first().waitFor();

    // As a service with --auth answers: everything is refused until a session is there.
    await page.route("**/api/v1/graphs*", async (route) => {
      const cookies = await context.cookies(base);
      if (cookies.some((cookie) => cookie.name === "diptych_session" && cookie.value === secret)) return route.continue();
      return route.fulfill({ status: 401, contentType: "application/problem+json", body: JSON.stringify({ title: "Unauthenticated", status: 401, code: "unauthenticated" }) });
    });
    await page.goto(`${base}/graphs`);
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await page.getByLabel("Token").fill(`diptych_${"0".repeat(64)}`);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    await page.getByLabel("Token").fill(secret);
    await page.getByRole("button", { name: "Sign in" }).click();
    await picturesShown(page, 4, ".graph-card .picture img");

    await page.goto(`${base}/access`);
    await page.getByText(`Signed in as ${name}`).waitFor();
    const row = page.locator("tr", { hasText: name }).first();
    await row.getByRole("button", { name: /Revoke/ }).click();
    await row.getByRole("button", { name: /Really revoke/ }).click();
    await row.getByText(/revoked/).waitFor();
    assert.ok((await api(`/tokens/${token.id}`)).revoked_at);
  } finally {
    await context.close();
  }
});
