// /openapi.json for people: routes by tag, and the schemas of what goes in and out.

import { address, json } from "./ask.js";
import { by, complain, h } from "./dom.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const TAGS = { questions: "Questions", changes: "Changes", state: "The service itself" };

let api;

async function begin() {
  try {
    api = await json(address("openapi.json"));
  } catch (error) {
    return complain(error);
  }
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const route = { path, method, ...item[method] };
      const tag = route.tags?.[0] ?? "other";
      groups.set(tag, [...(groups.get(tag) ?? []), route]);
    }
  }
  const schemas = Object.entries(api.components?.schemas ?? {});
  by("contents").replaceChildren(
    ...[...groups].map(([tag, routes]) => contents(titleOf(tag), routes.map(linkTo))),
    contents(
      "Schemas",
      schemas.map(([name]) => h("a", { href: `#${name}` }, name)),
    ),
  );
  by("main").replaceChildren(
    ...[...groups].map(([tag, routes]) => section(titleOf(tag), routes.map(articleOf))),
    section(
      "Schemas",
      schemas.map(([name, schema]) => schemaOf(name, schema)),
    ),
  );
  by("about").textContent = `${api.info.title} ${api.info.version}, OpenAPI ${api.openapi}.`;
  // What the address points at exists only now.
  by(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

const titleOf = (tag) => TAGS[tag] ?? tag;

const section = (title, children) =>
  h("section", { "aria-label": title }, h("h2", {}, title), children);

const contents = (title, links) =>
  h(
    "div",
    {},
    h("h2", {}, title),
    h(
      "ul",
      {},
      links.map((link) => h("li", {}, link)),
    ),
  );

const linkTo = (route) => h("a", { href: `#${route.operationId}` }, methodOf(route), pathOf(route));

const methodOf = ({ method }) => h("span", { class: `method ${method}` }, method.toUpperCase());

/** A path in which lines break after a slash only. */
function pathOf({ path }) {
  const parts = path.split(/(?<=\/)/);
  return h("code", {}, parts.flatMap((part) => [part, h("wbr")]).slice(0, -1));
}

function articleOf(route) {
  return h(
    "article",
    { id: route.operationId, class: "route" },
    h("h3", {}, methodOf(route), " ", pathOf(route)),
    prose(route.description ?? route.summary),
    route.parameters?.length && [
      h("h4", {}, "Parameters"),
      tableOf(
        route.parameters.map((parameter) => ({
          name: parameter.name,
          required: parameter.required,
          schema: parameter.schema,
          text: parameter.description ?? parameter.schema.description,
          more: parameter.in === "path" ? "in the path" : null,
        })),
      ),
    ],
    route.requestBody && [h("h4", {}, "Body"), mediaOf(route.requestBody.content)],
    h("h4", {}, "Responses"),
    responsesOf(route.responses),
  );
}

function prose(text = "") {
  return text.split(/\n\s*\n/).map((paragraph) => h("p", {}, inCode(paragraph)));
}

/** Text in which what stands between `backticks` is code. */
const inCode = (text) =>
  text
    .split("`")
    .map((part, i) => (i % 2 ? h("code", {}, part) : part))
    .filter((part) => part !== "");

function mediaOf(content) {
  return Object.entries(content).map(([type, { schema }]) =>
    h(
      "div",
      { class: "media" },
      h("p", {}, h("code", {}, type), schema?.$ref && [": ", typeOf(schema)]),
      schema && propertiesOf(schema),
    ),
  );
}

/** Each answer with what it holds; the errors, which are all alike, in one line. */
function responsesOf(responses) {
  const entries = Object.entries(responses);
  const errors = entries.filter(([status]) => status >= "4");
  const listed = (items) => items.flatMap((item, i) => (i ? [", ", item] : [item]));
  const holds = ([type, { schema }]) => {
    const known = schema && Object.keys(schema).length > 0;
    return [h("code", {}, type), known && [": ", typeOf(schema)]];
  };
  return h(
    "dl",
    { class: "responses" },
    entries
      .filter(([status]) => status < "4")
      .map(([status, { description, content }]) => [
        h("dt", {}, status),
        h("dd", {}, content ? listed(Object.entries(content).map(holds)) : description),
      ]),
    errors.length > 0 && [
      h("dt", {}, "Errors"),
      h(
        "dd",
        {},
        listed(
          errors.map(([status, { description }]) => h("abbr", { title: description }, status)),
        ),
        ": ",
        typeOf(Object.values(errors[0][1].content)[0].schema),
      ),
    ],
  );
}

function schemaOf(name, schema) {
  return h(
    "article",
    { id: name, class: "route" },
    h("h3", {}, h("code", {}, name)),
    prose(schema.description),
    propertiesOf(schema),
  );
}

function propertiesOf(schema) {
  if (!schema.properties) return null;
  const required = new Set(schema.required);
  return tableOf(
    Object.entries(schema.properties).map(([name, property]) => ({
      name,
      required: required.has(name),
      schema: property,
      text: property.description,
    })),
  );
}

function tableOf(rows) {
  const line = ({ name, required, schema, text, more }) =>
    h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        h("code", {}, name),
        required && h("span", { class: "needed" }, " needed"),
      ),
      h("td", {}, typeOf(schema), bounds(schema, more)),
      h("td", {}, inCode(text ?? "")),
    );
  const titles = ["Name", "Type", "What it is"];
  return h(
    "table",
    { class: "fields" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        titles.map((title) => h("th", { scope: "col" }, title)),
      ),
    ),
    h("tbody", {}, rows.map(line)),
  );
}

/** The type of a schema, as a link where it has a name. */
function typeOf(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return h("a", { href: `#${name}` }, h("code", {}, name));
  }
  const choice = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (choice) {
    const real = choice.filter((one) => one.type !== "null");
    return h(
      "span",
      {},
      real.flatMap((one, i) => [i ? " or " : "", typeOf(one)]),
    );
  }
  if (schema.enum)
    return h(
      "span",
      {},
      schema.enum.flatMap((value, i) => [i ? ", " : "", h("code", {}, JSON.stringify(value))]),
    );
  if (schema.const !== undefined) return h("code", {}, JSON.stringify(schema.const));
  if (schema.type === "array") return h("span", {}, "list of ", typeOf(schema.items ?? {}));
  if (schema.format === "binary") return h("span", {}, "file");
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return h("span", {}, "object, each value: ", typeOf(schema.additionalProperties));
  }
  return h("span", {}, [schema.type ?? "anything"].flat().join(" or "));
}

/** What else is asked of a value, and what it is if nothing is said. */
function bounds(schema, more) {
  const all = [schema, ...(schema.anyOf ?? [])];
  const find = (key) => all.map((one) => one[key]).find((value) => value !== undefined);
  const says = more ? [more] : [];
  const [low, high] = [find("minimum"), find("maximum")];
  if (low !== undefined && high !== undefined) says.push(`${low} to ${high}`);
  else if (low !== undefined) says.push(`${low} or more`);
  else if (high !== undefined) says.push(`${high} at most`);
  if (find("maxLength")) says.push(`${find("maxLength")} letters at most`);
  if (find("maxItems")) says.push(`${find("maxItems")} at most`);
  if (schema.default !== undefined && schema.default !== null)
    says.push(`by default ${JSON.stringify(schema.default)}`);
  return says.length > 0 && h("span", { class: "bounds" }, says.join("; "));
}

begin();
