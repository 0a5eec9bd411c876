// Executions: those of an organization, and one of them with its artifacts and its logs.

import { artifactPath, json, path, query as queried, save } from "./client.js";
import { LOGS, logView } from "./log.js";
import { ask, button, code, digest, facts, field, make, printable, said, size, table, when } from "./page.js";

const PAGE = 50;

/** `executions`, `executions/ID`. */
export async function executions(parts, query, context) {
  if (parts.length === 0) return list(query, context);
  if (parts.length === 1) return execution(parts[0], query, context);
  return undefined;
}

async function list(query, context) {
  const given = Object.fromEntries(query);
  const of = (name) => [...new Set(context.grants.map((grant) => grant[name]).filter((value) => value !== undefined))];
  const inputs = [
    field("Organization", { name: "organization", required: true, value: given.organization }, of("organization")),
    field("Project (any if empty)", { name: "project", value: given.project }, of("project")),
  ];
  const shown = [make("h1", {}, "Executions"), ask(inputs, "Show", (filled) => {
    location.hash = `#/executions${queried(filled)}`;
  })];
  if (!given.organization) return shown;
  const page = await json(`/v1/executions${queried({ ...given, limit: PAGE })}`, context);
  const row = (one) => [
    make("a", { href: `#/executions/${encodeURIComponent(one.execution_id)}`, class: "mono" }, said(one.execution_id)),
    said(one.project), said(one.runner_type), one.suite === undefined ? "" : said(one.suite), when(one.started_at),
  ];
  const columns = [["Execution", "name"], ["Project"], ["Runner"], ["Suite"], ["Began"]];
  return [
    ...shown,
    page.executions.length > 0
      ? table(`${page.executions.length} of ${given.organization}, in the order of their ids`, columns, page.executions, row)
      : make("p", {}, page.next ? "None in this part of the list; there are more." : "No execution here."),
    make("p", { class: "tools" },
      given.after && make("a", { href: `#/executions${queried({ ...given, after: "" })}` }, "First page"),
      page.next && make("a", { href: `#/executions${queried({ ...given, after: page.next })}`, rel: "next" }, "Next page")),
  ];
}

const STATES = { open: "consistent", completing: "undecided", complete: "valid", artifact_error: "invalid" };

async function execution(id, query, context) {
  const at = path("executions", id);
  const state = make("div", { role: "status" });
  const artifacts = make("div");
  let known;
  const refresh = async () => {
    const [status, { artifacts: items }] = await Promise.all([json(at, context), json(`${at}/artifacts`, context)]);
    known = { status, items };
    state.replaceChildren(...stateOf(status));
    artifacts.replaceChildren(...artifactsOf(status, items, context));
    return known;
  };
  await refresh();
  const log = LOGS.includes(query.get("log")) ? query.get("log") : firstLog(known);
  const tabs = LOGS.map((name) => make("a", {
    href: `#/executions/${encodeURIComponent(id)}?log=${name}`, "aria-current": name === log ? "page" : undefined,
  }, name));
  return [
    make("p", { class: "kicker" }, make("a", {
      href: `#/executions${queried({ organization: known.status.organization, project: known.status.project })}`,
    }, said(`${known.status.organization}/${known.status.project}`))),
    make("h1", {}, "Execution ", said(id)),
    state,
    make("h2", {}, "Logs"),
    make("nav", { class: "tabs", "aria-label": "Logs" }, tabs),
    logView({ id, log, known, refresh, context }),
    make("h2", {}, "Artifacts"),
    artifacts,
    make("p", { class: "tools" }, button("Look again", refresh)),
  ];
}

/** The log that is looked at first: of an execution that has ended, one that has something in it. */
function firstLog({ status, items }) {
  if (status.status !== "complete") return "stdout";
  return ["stdout", ...LOGS].find((log) => items.some((item) => item.name === `logs/${log}.log` && item.bytes > 0)) ?? "stdout";
}

function stateOf(status) {
  return [facts([
    ["State", make("span", { class: `badge ${STATES[status.status] ?? "undecided"}`, id: "state" }, status.status.replaceAll("_", " "))],
    ["Result", status.result],
    ["Message", status.message],
    ["Organization", status.organization],
    ["Project", status.project],
    ["Runner", status.runner_type],
    ["Bench", status.bench_id],
    ["Reservation", status.reservation_id],
    ["Suite", status.suite],
    ["Began", when(status.started_at)],
    ["Ended", status.ended_at && when(status.ended_at)],
    ["Pack", status.pack_id && make("a", { href: `#/packs/${encodeURIComponent(status.pack_id)}` }, code(status.pack_id))],
  ])];
}

function artifactsOf(status, items, { signal }) {
  if (items.length === 0) return [make("p", {}, "None until now.")];
  const columns = [["Name", "name"], ["Kind", "kind"], ["Size", "number"], ["SHA-256"], [""]];
  const read = (item) => {
    // Where the store signs URLs, anything else than one of the web is not followed.
    if (/^https?:\/\//.test(item.url)) return make("a", { href: item.url, rel: "noopener noreferrer", target: "_blank" }, "Open");
    if (status.pack_id === undefined) return make("span", { class: "aside" }, "when complete");
    return button("Save", () => save(artifactPath(status.pack_id, item.name), item.name, item.bytes, signal),
      { class: "quiet small", "aria-label": `Save ${printable(item.name)}` });
  };
  return [table("What belongs to it until now", columns, items, (item) => [
    said(item.name),
    make("span", {}, said(item.kind), make("div", { class: "aside" }, said(item.media_type))),
    size(item.bytes), item.sha256 === undefined ? "" : digest(item.sha256), read(item),
  ])];
}
