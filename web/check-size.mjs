// After a build: all scripts together, as a browser gets them, must stay small.
import { readdir, readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";

const MOST = 250_000;
const folder = new URL("dist/assets/", import.meta.url);
let bytes = 0;
for (const name of await readdir(folder)) {
  if (name.endsWith(".js")) bytes += gzipSync(await readFile(new URL(name, folder)), { level: 9 }).length;
}
console.log(`scripts: ${(bytes / 1000).toFixed(1)} kB gzip of at most ${MOST / 1000} kB`);
if (bytes === 0 || bytes > MOST) process.exit(1);
