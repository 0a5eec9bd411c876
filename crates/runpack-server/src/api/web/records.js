// Records: the list of a service, one of them, the one that came last, and the replay of its diffs.

import { json, path, query as queried, request, text } from "./client.js";
import { laidOut, members } from "./json.js";
import { ask, block, button, code, copy, digest, facts, failure, field, make, said, size, table, when } from "./page.js";

const PAGE = 50;
/** How many diffs are shown, and how many characters of a document. */
const DIFFS_MAX = 500;
const SHOWN_MAX = 512 * 1024;

const here = (stream, ...rest) => `#/${["records", ...stream, ...rest].map(encodeURIComponent).join("/")}`;

/** `records`, `records/O/P/S`, `records/O/P/S/runs/R`, `records/O/P/S/latest`, `records/O/P/S/diffs`. */
export async function records(parts, query, context) {
  const stream = parts.slice(0, 3);
  const [what, run] = parts.slice(3);
  if (parts.length === 0) return [make("h1", {}, "Records"), question(Object.fromEntries(query), context)];
  if (parts.length === 3) return list(stream, query, context);
  if (parts.length === 4 && what === "latest") return record(stream, path("records", ...stream, "latest"), context);
  if (parts.length === 4 && what === "diffs") return diffs(stream, query, context);
  if (parts.length === 5 && what === "runs") return record(stream, path("records", ...stream, "runs", run), context);
  return undefined;
}

const distinct = (values) => [...new Set(values.filter((value) => value !== undefined))];

/** Which records are asked for. */
function question(given, { grants }, what) {
  const submit = ({ organization, project, service, from, to }) => {
    location.hash = here([organization, project, service], ...(what ? [what] : [])) + queried({ from, to });
  };
  return ask([
    field("Organization", { name: "organization", required: true, value: given.organization }, distinct(grants.map((grant) => grant.organization))),
    field("Project", { name: "project", required: true, value: given.project }, distinct(grants.map((grant) => grant.project))),
    field("Service", { name: "service", required: true, value: given.service }),
    field("From (UTC)", { name: "from", type: "date", value: given.from }),
    field("To (today if empty)", { name: "to", type: "date", value: given.to }),
  ], "Show", submit);
}

const asked = ([organization, project, service], query) => ({ organization, project, service, from: query.get("from"), to: query.get("to") });

function links(stream, query) {
  const days = queried({ from: query.get("from") ?? "", to: query.get("to") ?? "" });
  return make("p", { class: "tools" },
    make("a", { href: here(stream) + days }, "List"),
    make("a", { href: here(stream, "latest") }, "Latest"),
    make("a", { href: here(stream, "diffs") + days }, "Replay of diffs"));
}

async function list(stream, query, context) {
  const days = { from: query.get("from") ?? "", to: query.get("to") ?? "" };
  const address = path("records", ...stream) + queried({ ...days, after: query.get("after") ?? "", limit: PAGE });
  const page = await json(address, context);
  const row = (one) => [
    make("a", { href: here(stream, "runs", one.run_id) }, said(one.run_id)),
    when(one.received_at), said(one.received_by), size(one.bytes), digest(one.body_sha256),
  ];
  const columns = [["Run", "name"], ["Received"], ["By"], ["Size", "number"], ["SHA-256 of the body"]];
  return [
    make("h1", {}, "Records"),
    question(asked(stream, query), context),
    links(stream, query),
    page.records.length > 0
      ? table(`${page.records.length} of ${stream.join("/")}, by day and run`, columns, page.records, row)
      : make("p", {}, "No record of these days. Only today is looked at where no day is given."),
    make("p", { class: "tools" },
      query.has("after") && make("a", { href: here(stream) + queried(days) }, "First page"),
      page.next && make("a", { href: here(stream) + queried({ ...days, after: page.next }), rel: "next" }, "Next page")),
  ];
}

const value = (raw) => (raw?.startsWith('"') ? JSON.parse(raw) : raw);

async function record(stream, address, context) {
  const stored = await text(address, context);
  const head = members(stored);
  const body = head.get("body");
  const envelope = members(body);
  const of = (name) => value(envelope.get(name));
  const metadata = [...members(envelope.get("metadata") ?? "{}")].map(([name, raw]) => [name, value(raw)]);
  const matches = await hasDigest(body, value(head.get("body_sha256")));
  return [
    make("p", { class: "kicker" }, make("a", { href: here(stream) }, said(stream.join("/")))),
    make("h1", {}, "Record ", said(of("run_id"))),
    links(stream, new URLSearchParams()),
    make("h2", {}, "What the server noted"),
    facts([
      ["Received", when(value(head.get("received_at")))],
      ["By", value(head.get("received_by"))],
      ["SHA-256", make("span", {}, code(value(head.get("body_sha256"))), " ", matches)],
      ["Format", value(head.get("format"))],
    ]),
    make("h2", {}, "Envelope"),
    facts([
      ["Organization", of("organization")], ["Project", of("project")], ["Service", of("service")],
      ["Run", of("run_id")], ["Commit", code(of("commit_sha"))], ["Generated", when(of("generated_at"))],
      ...metadata.map(([name, text]) => [make("span", {}, "metadata ", said(name)), text]),
    ]),
    ...["summary", "diff", "artifact"].flatMap((name) => part(name, envelope.get(name))),
  ];
}

/** Whether the body that came here is the one that the server noted; nothing where the browser cannot tell. */
async function hasDigest(body, expected) {
  if (!crypto.subtle) return undefined;
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(body)));
  const found = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const holds = found === expected;
  return make("span", { class: `badge ${holds ? "valid" : "invalid"}` }, holds ? "recomputed here" : "the body has another");
}

function part(name, raw) {
  if (raw === undefined) return [];
  const title = name[0].toUpperCase() + name.slice(1);
  const shown = laidOut(raw);
  const cut = shown.length > SHOWN_MAX;
  const pre = block(cut ? shown.slice(0, SHOWN_MAX) : shown, title);
  return [
    make("h2", {}, title),
    pre,
    make("p", { class: "tools" },
      button("Copy", () => copy(raw), { class: "quiet small" }),
      cut && make("span", { class: "aside" }, "Only the beginning is shown; the copy has all of it.")),
  ];
}

async function diffs(stream, query, context) {
  const days = { from: query.get("from") ?? "", to: query.get("to") ?? "" };
  const answer = await request(path("records", ...stream, "diffs") + queried(days), context);
  const items = make("div");
  let count = 0;
  let more = false;
  for await (const line of lines(answer.body)) {
    const parts = members(line);
    if (parts.has("problem")) {
      const problem = JSON.parse(parts.get("problem"));
      items.append(failure({ ...problem, message: problem.title }));
      break;
    }
    if (count === DIFFS_MAX) {
      more = true;
      break;
    }
    count += 1;
    const run = value(parts.get("run_id"));
    items.append(make("section", {},
      make("h2", {}, make("a", { href: here(stream, "runs", run) }, said(run))),
      make("p", { class: "aside" }, when(value(parts.get("received_at"))), " commit ", code(value(parts.get("commit_sha")))),
      block(laidOut(parts.get("diff")).slice(0, SHOWN_MAX), `Diff of ${run}`)));
  }
  return [
    make("p", { class: "kicker" }, make("a", { href: here(stream) + queried(days) }, said(stream.join("/")))),
    make("h1", {}, "Replay of diffs"),
    question(asked(stream, query), context, "diffs"),
    make("p", {}, count === 0 ? "No diff of these days." : `${count} in the order in which their records came.`),
    items,
    more && make("p", {}, `There are more than ${DIFFS_MAX}: choose fewer days to see them.`),
  ];
}

/** The lines of a stream; leaving the loop ends the request. */
async function* lines(stream) {
  let rest = "";
  for await (const piece of pieces(stream)) {
    const whole = (rest + piece).split("\n");
    rest = whole.pop();
    yield* whole;
  }
  if (rest !== "") yield rest;
}

async function* pieces(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    await reader.cancel();
  }
}
