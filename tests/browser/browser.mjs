// Headless Chromium as Debian packages it: nothing is downloaded, nothing is asked of the network.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before } from "node:test";
import { chromium } from "playwright-core";

const PLACES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function launch() {
  const executablePath = PLACES.find((path) => path && existsSync(path));
  if (!executablePath) throw new Error("No Chromium found: install Debian's `chromium`, or name one in CHROMIUM");
  return chromium.launch({
    executablePath,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** A page that collects what the console complains of: `complaints` is empty after a good visit. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, deviceScaleFactor: 1, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    // The first page asks whether this is a demo; "no" is a 404, which Chromium reports by itself.
    if (message.type() === "error" && !/\/api\/v1\/demo/.test(message.location().url)) {
      complaints.push(`${message.text()} (${message.location().url})`);
    }
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return { page, context, complaints };
}

/** Opens `address`, runs `look`, and then nothing may have complained on the console but what `refused` allows. */
async function visit(browser, address, look, { refused, ...options } = {}) {
  const { page, context, complaints } = await openPage(browser, options);
  try {
    await page.goto(address);
    await look(page);
    assert.deepEqual(complaints.filter((complaint) => !refused?.test(complaint)), []);
  } finally {
    await context.close();
  }
}

export async function picturesShown(page, least, selector = ".picture img") {
  await page.waitForFunction(
    ([wanted, where]) => [...document.querySelectorAll(where)].filter((image) => image.naturalWidth > 0).length >= wanted,
    [least, selector],
    { timeout: 20_000 },
  );
}

/** What every file of tests needs: the server that DIPTYCH_URL names, its API, and one browser for all its tests. */
export function testBench() {
  const base = process.env.DIPTYCH_URL?.replace(/\/$/, "");
  assert.ok(base, "DIPTYCH_URL must name a running server");
  const bench = {
    base,
    browser: undefined,
    api: async (path) => {
      const response = await fetch(`${base}/api/v1${path}`);
      assert.equal(response.status, 200, `GET ${path}`);
      return response.json();
    },
    visit: (path, look, options) => visit(bench.browser, base + path, look, options),
  };
  before(async () => {
    bench.browser = await launch();
  });
  after(() => bench.browser?.close());
  return bench;
}
