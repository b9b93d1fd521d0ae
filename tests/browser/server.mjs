// A `diptych` of one's own, for as long as a run of tests or measurements takes.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

/** Starts `diptych` with these arguments; `address` resolves once it is named on its output. */
export function startServer(args) {
  const binary = process.env.DIPTYCH_BIN ?? join(here, "../../target/release/diptych");
  if (!existsSync(binary)) {
    console.error(`${binary} is not there: build it first (make build), or name it in DIPTYCH_BIN`);
    process.exit(1);
  }
  const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const tail = () => output.slice(-4000);
  const address = new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk;
      const match = /http:\/\/(?:127\.0\.0\.1|localhost):\d+/.exec(output);
      if (match) resolve(match[0]);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`diptych ended with ${code} before it named its address\n${tail()}`)));
    setTimeout(() => reject(new Error(`diptych named no address in 120 s\n${tail()}`)), 120_000).unref();
  });
  return { child, address, tail };
}

export async function stopServer(child) {
  if (child.exitCode !== null) return;
  child.kill("SIGTERM");
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  await ended;
  clearTimeout(timer);
}
