import { readFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";
import { expect, it } from "vitest";

it("schema.ts is what server/openapi.json gives; else: npm run types", async () => {
  const document = JSON.parse(await readFile(new URL("../../../server/openapi.json", import.meta.url), "utf8"));
  const fresh = astToString(await openapiTS(document, { alphabetize: true }));
  const kept = await readFile(new URL("./schema.ts", import.meta.url), "utf8");
  expect(kept.slice(kept.indexOf("export"))).toBe(fresh.slice(fresh.indexOf("export")));
});
