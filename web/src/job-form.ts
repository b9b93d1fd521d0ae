/** The fields of a job's request as the API's schema describes them, and the request that a filled form makes. */

export interface SchemaProperty {
  type?: string | string[];
  description?: string;
  default?: unknown;
  minimum?: number;
  maximum?: number;
}

export interface FormField {
  name: string;
  kind: "integer" | "number" | "text" | "choice";
  help: string;
  /** What is sent when the field is left alone; "" where the service decides. */
  initial: string;
  options: string[];
  minimum?: number | undefined;
  maximum?: number | undefined;
}

/** Fields that the form asks for in ways of its own. */
const OWN = new Set(["pairing_id", "objective", "trainable", "evaluation"]);

/** Words in backticks, where the description is a list of them: "`linear`, `constant` or `cosine`." */
export function optionsOf(description: string): string[] {
  const words = [...description.matchAll(/`([a-z0-9_-]+)`/g)].map((match) => match[1] as string);
  return words.length > 1 ? words : [];
}

export function fieldsOf(properties: Record<string, SchemaProperty>): FormField[] {
  return Object.entries(properties)
    .filter(([name]) => !OWN.has(name))
    .map(([name, property]): FormField => {
      const types = ([] as string[]).concat(property.type ?? "string").filter((type) => type !== "null");
      const help = (property.description ?? "").replaceAll("`", "").replace(/\s+/g, " ");
      const options = types[0] === "string" ? optionsOf(property.description ?? "") : [];
      return {
        name,
        kind: options.length > 0 ? "choice" : types[0] === "integer" ? "integer" : types[0] === "number" ? "number" : "text",
        help,
        initial: property.default === undefined || property.default === null ? "" : String(property.default),
        options,
        minimum: property.minimum,
        maximum: property.maximum,
      };
    });
}

export interface JobForm {
  pairing: string;
  objective: string;
  path: string;
  trainable: string;
  rank: string;
  /** What was changed of the schema's fields, by name. */
  changed: Record<string, string>;
}

/** Only what was changed is sent; a field that is no number goes as it is, for the service to say what is wrong. */
export function jobRequest(form: JobForm, fields: FormField[]): Record<string, unknown> {
  const objective: Record<string, unknown> = { name: form.objective };
  if (form.objective === "inversion-dpo") objective.path = form.path;
  const rank = Number(form.rank);
  const isLora = form.trainable.endsWith("lora");
  const request: Record<string, unknown> = {
    pairing_id: form.pairing,
    objective,
    trainable: isLora ? { kind: form.trainable, rank, alpha: rank } : form.trainable,
  };
  for (const { name, kind, initial } of fields) {
    const text = form.changed[name];
    if (text === undefined || text === initial || text.trim() === "") continue;
    const number = Number(text);
    request[name] = (kind === "integer" || kind === "number") && Number.isFinite(number) ? number : text;
  }
  return request;
}
