// The interface, from its OpenAPI document: each request, what it takes and gives, and every problem.

import { curl } from "./client.js";
import { button, code, copy, failure, make, said } from "./page.js";

const main = document.getElementById("main");
const METHODS = ["get", "head", "post", "put", "patch", "delete"];
/** Schemas within schemas are shown so deep. */
const DEPTH_MAX = 6;

let openapi;

/** What a `$ref` leads to, with its name. */
function resolved(schema) {
  if (schema?.$ref === undefined) return [undefined, schema ?? {}];
  const name = schema.$ref.split("/").pop();
  return [name, openapi.components.schemas[name] ?? {}];
}

/** Text with `code` in it. */
const prose = (text) => text.split("`").map((part, at) => (at % 2 === 1 ? code(part) : part));

const paragraphs = (text) => (text ?? "").split("\n\n").filter((part) => part !== "").map((part) => make("p", {}, prose(part)));

/** The type of a value, in a few words. */
function type(schema) {
  const [name, one] = resolved(schema);
  if (one.oneOf ?? one.anyOf) return (one.oneOf ?? one.anyOf).map(type).join(" or ");
  if (one.enum) return one.enum.map((value) => JSON.stringify(value)).join(", ");
  const kinds = [one.type ?? "any"].flat().filter((kind) => kind !== "null").join(" or ");
  if (kinds === "array") return `list of ${type(one.items)}`;
  return name === undefined ? kinds : `${kinds} (${name})`;
}

/** What a value must be like. */
function rules(schema) {
  const [, one] = resolved(schema);
  const words = [];
  if (one.pattern) words.push(["matches ", code(one.pattern)]);
  if (one.minimum !== undefined) words.push([`from ${one.minimum}`]);
  if (one.maximum !== undefined) words.push([`to ${one.maximum}`]);
  if (one.minLength !== undefined) words.push([`at least ${one.minLength} characters`]);
  if (one.maxLength !== undefined) words.push([`at most ${one.maxLength} characters`]);
  if (one.default !== undefined) words.push(["default ", code(String(one.default))]);
  const example = one.example ?? one.examples?.[0];
  if (example !== undefined) words.push(["such as ", code(String(example))]);
  return words.flatMap((word, at) => (at === 0 ? word : ["; ", ...word]));
}

/** The members of a schema, and theirs. */
function tree(schema, depth = 0) {
  const [, one] = resolved(schema);
  const inside = one.oneOf ?? one.anyOf ?? one.allOf ?? (one.items ? [one.items] : []);
  const below = inside.map((part) => tree(part, depth + 1)).filter((part) => part !== undefined);
  if (one.properties === undefined || depth > DEPTH_MAX) return below.length > 0 && depth <= DEPTH_MAX ? make("div", {}, below) : undefined;
  const members = Object.entries(one.properties).map(([name, member]) => make("li", {},
    code(name), " ", make("span", { class: "aside" }, type(member), (one.required ?? []).includes(name) ? "" : ", may be left out"),
    make("div", { class: "aside" }, prose(member.description ?? "")),
    make("div", { class: "aside" }, rules(member)),
    tree(member, depth + 1)));
  return make("div", {}, below, make("ul", { class: "tree" }, members));
}

function bodies(content) {
  return Object.entries(content ?? {}).map(([mediaType, { schema }]) => {
    const members = tree(schema);
    return make("div", {}, make("p", {}, code(mediaType), members ? undefined : ` ${type(schema)}`), members);
  });
}

function parameters(list) {
  if (list.length === 0) return undefined;
  const head = ["Parameter", "In", "Type", "What it is"].map((title) => make("th", { scope: "col" }, title));
  const rows = list.map(({ name, in: where, required, schema, description }) => make("tr", {},
    make("td", {}, code(name)),
    make("td", {}, where, required ? "" : make("div", { class: "aside" }, "may be left out")),
    make("td", {}, type(schema)),
    make("td", {}, prose(description ?? ""), make("div", { class: "aside" }, rules(schema)))));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)));
}

function answers(responses) {
  const good = Object.entries(responses).filter(([status]) => Number(status) < 400);
  return good.map(([status, { description, content, headers }]) => make("div", {},
    make("p", {}, make("strong", {}, status), " ", prose(description ?? ""),
      Object.keys(headers ?? {}).map((name) => make("span", {}, " with ", code(name)))),
    bodies(content)));
}

function operation(path, method, one) {
  const mediaType = Object.keys(one.requestBody?.content ?? {})[0];
  const line = curl(method.toUpperCase(), path, mediaType);
  const given = parameters(one.parameters ?? []);
  return make("details", { class: "operation", id: one.operationId },
    make("summary", {}, make("span", { class: "method" }, method.toUpperCase()), " ", code(path), " ", make("span", { class: "aside" }, one.summary ?? "")),
    make("div", { class: "inside" },
      paragraphs(one.description),
      given && [make("h4", {}, "Parameters"), given],
      one.requestBody && [make("h4", {}, "Body"), ...bodies(one.requestBody.content)],
      make("h4", {}, "Answers"), answers(one.responses),
      make("p", { class: "aside" }, "Or one of the ", make("a", { href: "#problems" }, "problems"), "."),
      make("h4", {}, "With curl"), make("pre", {}, line),
      button("Copy", () => copy(line), { class: "quiet small", "aria-label": `Copy the curl line of ${method.toUpperCase()} ${path}` })));
}

function group({ name, description }) {
  const operations = Object.entries(openapi.paths).flatMap(([path, methods]) =>
    METHODS.filter((method) => methods[method]?.tags?.includes(name)).map((method) => operation(path, method, methods[method])));
  return make("section", { id: name }, make("h2", {}, name[0].toUpperCase() + name.slice(1)), paragraphs(description), operations);
}

function problems() {
  const head = ["Code", "Status", "What it is", "What to do next"].map((title) => make("th", { scope: "col" }, title));
  const rows = openapi["x-problems"].map(({ code: name, status, title, next }) => make("tr", { id: name },
    make("td", {}, make("a", { href: `#${name}` }, code(name))), make("td", {}, String(status)), make("td", {}, prose(title)), make("td", {}, prose(next))));
  const [, schema] = resolved({ $ref: "#/components/schemas/Problem" });
  return make("section", { id: "problems" },
    make("h2", {}, "Problems"),
    make("p", {}, "What was not done is told as ", code("application/problem+json"), " (RFC 9457). Programs look at ", code("code"),
      "; its meaning does not change. The header ", code("X-Request-Id"), " names the request in the server's logs."),
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows))),
    make("h3", {}, "What a problem has"), tree(schema));
}

/** Goes to what the address names, and opens it. */
function arrive() {
  const found = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (found === null) return;
  // The browser looked for the place before it was there, so it marks none.
  document.querySelector(".here")?.classList.remove("here");
  found.classList.add("here");
  if (found.tagName === "DETAILS") found.open = true;
  found.scrollIntoView();
}

async function show() {
  const answer = await fetch("/openapi.json", { cache: "no-cache", redirect: "error" });
  openapi = await answer.json();
  const { info, tags } = openapi;
  const contents = [...tags.map(({ name }) => name), "problems"];
  main.replaceChildren(
    make("h1", {}, "The interface"),
    make("p", { class: "kicker" }, said(`${info.title} ${info.version}`), ", ", make("a", { href: "/openapi.json" }, "openapi.json")),
    ...paragraphs(info.description),
    make("p", {}, "Every request has one header ", code("Authorization: Bearer TOKEN"), "."),
    make("nav", { class: "tools", "aria-label": "Contents" }, contents.map((name) => make("a", { href: `#${name}` }, name))),
    ...tags.map(group),
    problems());
  arrive();
}

addEventListener("hashchange", arrive);
show().catch((error) => {
  main.replaceChildren(make("h1", {}, "The interface"), failure({ message: "the document did not come", detail: error.message, next: "try again" }));
});
