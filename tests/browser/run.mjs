// Starts the small demo, waits until it has run through, runs the tests on its pages, and stops it.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startServer, stopServer } from "./server.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const MINUTES = Number(process.env.DIPTYCH_DEMO_MINUTES ?? 10);

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

const data = await mkdtemp(join(tmpdir(), "diptych-browser-"));
const server = startServer(["--data", data, "demo", "--small", "--port", "0"]);
let code = 1;
try {
  const url = await server.address;
  console.log(`small demo at ${url}`);
  await finished(url, server.child, server.tail);
  code = await run(process.execPath, ["--test", "--test-concurrency=1", "--test-reporter=spec", "inversion.test.mjs", "ui.test.mjs", "work.test.mjs", "browse.test.mjs", "curate.test.mjs"], { DIPTYCH_URL: url });
} catch (error) {
  console.error(error.message);
} finally {
  await stopServer(server.child);
  await rm(data, { recursive: true, force: true, maxRetries: 5, retryDelay: 500 });
}
process.exit(code);
