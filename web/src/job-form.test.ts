import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { fieldsOf, jobRequest, optionsOf, type SchemaProperty } from "./job-form";

const document = JSON.parse(await readFile(new URL("../../server/openapi.json", import.meta.url), "utf8")) as {
  components: { schemas: { CreateJobRequest: { properties: Record<string, SchemaProperty> } } };
};
const fields = fieldsOf(document.components.schemas.CreateJobRequest.properties);
const form = { pairing: "p", objective: "sft", path: "auto", trainable: "unet", rank: "8", changed: {} };

it("finds every field of the request, its kind and its default", () => {
  const field = (name: string) => fields.find((one) => one.name === name);
  expect(field("max_steps")).toMatchObject({ kind: "integer", initial: "300", minimum: 1 });
  expect(field("learning_rate")).toMatchObject({ kind: "number" });
  expect(field("learning_rate_schedule")).toMatchObject({ kind: "choice", options: ["linear", "constant", "cosine"] });
  expect(field("model")).toMatchObject({ kind: "text", initial: "" });
  expect(field("objective")).toBeUndefined();
  expect(optionsOf("A word in `backticks` alone")).toEqual([]);
});

it("sends what was changed and nothing else", () => {
  expect(jobRequest(form, fields)).toEqual({ pairing_id: "p", objective: { name: "sft" }, trainable: "unet" });
  const changed = { max_steps: "20", learning_rate: "1e-4", seed: "0", loss: "hinge", batch_size: "many" };
  expect(jobRequest({ ...form, objective: "inversion-dpo", trainable: "lora", changed }, fields)).toEqual({
    pairing_id: "p",
    objective: { name: "inversion-dpo", path: "auto" },
    trainable: { kind: "lora", rank: 8, alpha: 8 },
    max_steps: 20,
    learning_rate: 1e-4,
    loss: "hinge",
    batch_size: "many",
  });
});
