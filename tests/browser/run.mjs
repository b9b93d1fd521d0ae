// Starts the small demo, waits until it has run through, runs the tests on its pages, and stops it.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const binary = process.env.DIPTYCH_BIN ?? join(here, "../../target/release/diptych");
const MINUTES = Number(process.env.DIPTYCH_DEMO_MINUTES ?? 10);

if (!existsSync(binary)) {
  console.error(`${binary} is not there: build it first (make build), or name it in DIPTYCH_BIN`);
  process.exit(1);
}

/** Starts `diptych demo --small`, resolves with its address once it is named on its output. */
function start(data) {
  const child = spawn(binary, ["--data", data, "demo", "--small", "--port", "0"], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const address = new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk;
      const match = /http:\/\/(?:127\.0\.0\.1|localhost):\d+/.exec(output);
      if (match) resolve(match[0]);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`diptych demo ended with ${code} before it named its address\n${output.slice(-4000)}`)));
    setTimeout(() => reject(new Error(`diptych demo named no address in 120 s\n${output.slice(-4000)}`)), 120_000).unref();
  });
  return { child, address, tail: () => output.slice(-4000) };
}

async function finished(url, child, tail) {
  const until = Date.now() + MINUTES * 60_000;
  while (Date.now() < until) {
    if (child.exitCode !== null) throw new Error(`diptych demo ended with ${child.exitCode}\n${tail()}`);
    try {
      const response = await fetch(`${url}/api/v1/demo`);
      if (response.ok) {
        const demo = await response.json();
        const failed = demo.stages?.find(({ state }) => state === "failed");
        if (failed) throw new Error(`the demo's stage ${failed.name} failed\n${tail()}`);
        if (!demo.running && demo.summary) return;
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error(`the small demo took longer than ${MINUTES} minutes\n${tail()}`);
}

function run(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: here, stdio: "inherit", env: { ...process.env, ...env } });
    child.on("exit", (code) => resolve(code ?? 1));
  });
}

async function stop(child) {
  if (child.exitCode !== null) return;
  child.kill("SIGTERM");
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  await ended;
  clearTimeout(timer);
}

const data = await mkdtemp(join(tmpdir(), "diptych-browser-"));
const server = start(data);
let code = 1;
try {
  const url = await server.address;
  console.log(`small demo at ${url}`);
  await finished(url, server.child, server.tail);
  code = await run(process.execPath, ["--test", "--test-concurrency=1", "--test-reporter=spec", "ui.test.mjs", "work.test.mjs", "browse.test.mjs", "curate.test.mjs"], { DIPTYCH_URL: url });
} catch (error) {
  console.error(error.message);
} finally {
  await stop(server.child);
  await rm(data, { recursive: true, force: true, maxRetries: 5, retryDelay: 500 });
}
process.exit(code);
