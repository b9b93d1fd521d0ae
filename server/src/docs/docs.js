// Renders /api/v1/openapi.json. Text goes in as text, never as HTML.

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

const nameOf = (reference) => reference.split("/").pop();

/** A schema in a few words, with links to the named ones. */
function type(schema) {
  if (schema === undefined || schema === true) return make("span", {}, "any");
  if (schema.$ref) return make("a", { href: `#schema-${nameOf(schema.$ref)}` }, nameOf(schema.$ref));
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return join(choices.map(type), " | ");
  if (schema.allOf) return join(schema.allOf.map(type), " & ");
  if (schema.enum) return make("span", {}, schema.enum.map((one) => JSON.stringify(one)).join(" | "));
  const kinds = [schema.type ?? "any"].flat();
  if (kinds.includes("array")) return join([make("span", {}, "list of "), type(schema.items)], "");
  const format = schema.format ? ` (${schema.format})` : "";
  return make("span", {}, kinds.join(" | ") + format);
}

function join(parts, separator) {
  const whole = make("span");
  parts.forEach((part, index) => whole.append(...(index ? [separator, part] : [part])));
  return whole;
}

function table(heads, rows) {
  if (!rows.length) return null;
  const head = make("tr", {}, ...heads.map((text) => make("th", {}, text)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell ?? ""))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

function limits(schema = {}) {
  const words = [];
  if (schema.minimum !== undefined) words.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined) words.push(`to ${schema.maximum}`);
  if (schema.default !== undefined && schema.default !== null) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.length ? ` (${words.join(", ")})` : "";
}

function fields(schema) {
  const required = new Set(schema.required ?? []);
  return table(
    ["Field", "Type", "Meaning"],
    Object.entries(schema.properties ?? {}).map(([name, one]) => [
      make("code", {}, required.has(name) ? name : `${name}?`),
      type(one),
      (one.description ?? "") + limits(one),
    ]),
  );
}

function contents(content = {}) {
  return join(
    Object.entries(content).map(([media, one]) => join([make("code", {}, media), type(one.schema)], " ")),
    ", ",
  );
}

function operation(path, method, one) {
  const article = make("article", { id: one.operationId });
  article.append(make("h3", {}, make("span", { class: "method" }, method.toUpperCase()), path));
  article.append(make("p", {}, [one.summary, one.description].filter(Boolean).join(" ")));
  const parameters = (one.parameters ?? []).map((parameter) => [
    make("code", {}, parameter.name + (parameter.required ? "" : "?")),
    parameter.in,
    type(parameter.schema),
    (parameter.description ?? "") + limits(parameter.schema),
  ]);
  if (parameters.length) article.append(make("h4", {}, "Parameters"), table(["Name", "In", "Type", "Meaning"], parameters));
  if (one.requestBody) article.append(make("h4", {}, "Body"), contents(one.requestBody.content));
  const responses = Object.entries(one.responses ?? {}).map(([status, response]) => [
    make("code", {}, status),
    response.description ?? "",
    contents(response.content),
  ]);
  article.append(make("h4", {}, "Answers"), table(["Status", "When", "Content"], responses));
  return article;
}

function render(document_) {
  document.getElementById("description").textContent = document_.info.description ?? "";
  const groups = new Map((document_.tags ?? []).map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, item] of Object.entries(document_.paths)) {
    for (const [method, one] of Object.entries(item)) {
      if (!one.operationId) continue;
      groups.get(one.tags?.[0])?.operations.push([path, method, one]);
    }
  }
  const place = document.getElementById("operations");
  const navigation = document.getElementById("contents");
  place.replaceChildren();
  for (const group of groups.values()) {
    if (!group.operations.length) continue;
    place.append(make("h2", { id: `tag-${group.name}` }, group.name), make("p", {}, group.description ?? ""));
    navigation.append(make("h2", {}, group.name));
    for (const [path, method, one] of group.operations) {
      place.append(operation(path, method, one));
      navigation.append(make("a", { href: `#${one.operationId}` }, one.operationId.replaceAll("_", " ")));
    }
  }
  navigation.append(make("h2", {}, "errors"), make("a", { href: "#problems" }, "problems"));
  const schemas = document.getElementById("schemas");
  for (const [name, schema] of Object.entries(document_.components?.schemas ?? {})) {
    const article = make("article", { id: `schema-${name}` }, make("h3", {}, name), make("p", {}, schema.description ?? ""));
    const rows = fields(schema);
    article.append(rows ?? type(schema));
    if (schema.example !== undefined) article.append(make("pre", {}, JSON.stringify(schema.example, null, 2)));
    schemas.append(article);
  }
  // The place that the address names exists only now.
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

const response = await fetch("/api/v1/openapi.json");
if (response.ok) render(await response.json());
else document.getElementById("operations").textContent = `The document could not be fetched (status ${response.status}).`;
