// Packs: those of a tenant, and one of them with its artifacts, its verification and its links.

import { artifactPath, json, path, Problem, query as queried, save, text } from "./client.js";
import { laidOut } from "./json.js";
import { ask, block, button, code, copy, digest, facts, failure, field, make, printable, said, size, table, when } from "./page.js";

const PAGE = 50;
const NAMES = ["tenant", "namespace", "scenario", "run_id"];

/** `packs`, `packs/PACK_ID`. */
export async function packs(parts, query, context) {
  if (parts.length === 0) return list(query, context);
  if (parts.length === 1) return pack(parts[0], context);
  return undefined;
}

async function list(query, context) {
  const given = Object.fromEntries(query);
  const { grants } = context;
  const labels = { tenant: "Tenant", namespace: "Namespace", scenario: "Scenario", run_id: "Run" };
  const known = {
    tenant: grants.map((grant) => grant.organization),
    namespace: grants.map((grant) => grant.project).filter((project) => project !== undefined),
  };
  const inputs = NAMES.map((name) =>
    field(labels[name], { name, value: given[name], required: name === "tenant" }, [...new Set(known[name] ?? [])]));
  const shown = [make("h1", {}, "Packs"), ask(inputs, "Show", (filled) => {
    location.hash = `#/packs${queried(filled)}`;
  })];
  if (!given.tenant) return shown;
  const page = await json(`/v1/packs${queried({ ...given, limit: PAGE })}`, context);
  const row = ({ pack_id: id, subject, created_at: created, artifacts, bytes }) => [
    make("a", { href: `#/packs/${encodeURIComponent(id)}` }, said(subject.run_id ?? subject.step_id ?? id)),
    make("span", {}, said([subject.namespace, subject.scenario].filter((part) => part).join("/"))),
    when(created), String(artifacts), size(bytes), digest(id),
  ];
  const columns = [["Run", "name"], ["Of"], ["Made"], ["Artifacts", "number"], ["Size", "number"], ["Pack id"]];
  return [
    ...shown,
    page.packs.length > 0
      ? table(`${page.packs.length} of ${given.tenant}`, columns, page.packs, row)
      : make("p", {}, "No pack here."),
    make("p", { class: "tools" },
      given.after && make("a", { href: `#/packs${queried({ ...given, after: "" })}` }, "First page"),
      page.next && make("a", { href: `#/packs${queried({ ...given, after: page.next })}`, rel: "next" }, "Next page")),
  ];
}

/** What a subject says, from the widest to the narrowest. */
const SUBJECT = ["tenant", "namespace", "scenario", "run_id", "step_id", "execution_id", "spec_hash"];
const SHOWN = {
  execution_id: (id) => make("a", { href: `#/executions/${encodeURIComponent(id)}` }, said(id)),
  spec_hash: code,
};

const label = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

async function pack(id, context) {
  const raw = await text(path("packs", id), context);
  const manifest = JSON.parse(raw);
  const { kind, ...subject } = manifest.subject;
  const of = SUBJECT.filter((name) => subject[name] !== undefined);
  const bytes = manifest.artifacts.reduce((sum, artifact) => sum + artifact.bytes, 0);
  return [
    make("p", { class: "kicker" }, `Pack of ${kind === "execution" ? "an execution" : `a ${kind}`}`),
    make("h1", {}, said(subject.run_id ?? subject.step_id ?? subject.execution_id ?? id)),
    facts([
      ["Pack id", code(id)],
      ...of.map((name) => [label(name), SHOWN[name]?.(subject[name]) ?? subject[name]]),
      ["Made", when(manifest.created_at)],
      ["By", `${manifest.producer.name} ${manifest.producer.version}`],
      ["Size", make("span", {}, size(bytes), ` in ${manifest.artifacts.length} artifacts`)],
      ...Object.entries(manifest.labels ?? {}).map(([name, value]) => [make("span", {}, "label ", said(name)), value]),
    ]),
    verification(id, context),
    make("h2", {}, "Artifacts"),
    table("As the manifest commits to them", ARTIFACT_COLUMNS, manifest.artifacts, (artifact) => artifactRow(id, artifact, context)),
    make("p", { class: "tools" },
      button("Save the bundle", () => save(`${path("packs", id)}/bundle`, `${id.replace("sha256:", "")}.tar.gz`, bytes, context.signal)),
      button("Copy the pack id", () => copy(id))),
    links(id, manifest, context),
    make("details", {}, make("summary", {}, "The manifest"), block(laidOut(raw), "The manifest")),
  ];
}

const ARTIFACT_COLUMNS = [["Name", "name"], ["Kind", "kind"], ["Size", "number"], ["SHA-256"], [""]];

function artifactRow(id, artifact, { signal }) {
  const file = artifact.title ?? artifact.name;
  const isWhole = artifact.sha256 !== undefined;
  return [
    make("span", {}, said(artifact.name), artifact.title && make("div", { class: "aside" }, "title ", said(artifact.title))),
    make("span", {}, said(artifact.kind), make("div", { class: "aside" }, said(artifact.media_type))),
    size(artifact.bytes),
    make("span", {},
      isWhole ? digest(artifact.sha256) : make("span", { class: "aside" }, `${artifact.chunks.length} chunks of 8 MiB`),
      artifact.claimed_sha256 && make("div", {}, make("div", { class: "aside" }, "of the whole, claimed"), digest(artifact.claimed_sha256))),
    button("Save", () => save(artifactPath(id, artifact.name), printable(file), artifact.bytes, signal),
      { class: "quiet small", "aria-label": `Save ${printable(artifact.name)}` }),
  ];
}

const LEVELS = { full: "every byte", deep: "every byte and claimed digests", presence: "sizes only" };

/** What a verdict means, for whoever meets it for the first time. */
const MEANINGS = {
  valid: "Every byte that was checked is the one that was committed to.",
  invalid: "This is not what was committed to.",
  undecided: "It could not be read as a whole, so nothing is said about it.",
  consistent: "Everything is there with the right size; its content is unproven.",
};

function verification(id, { signal, failed }) {
  const level = make("select", { id: "level" }, Object.entries(LEVELS).map(([name, text]) => make("option", { value: name }, `${name}: ${text}`)));
  const result = make("div", { role: "status", id: "verification" });
  const verify = async () => {
    result.replaceChildren(make("p", { class: "aside" }, "Verifying: the whole pack is read ..."));
    try {
      const report = await json(`${path("packs", id)}/verify${queried({ level: level.value })}`, { method: "POST", signal });
      result.replaceChildren(...verdict(report));
    } catch (error) {
      result.replaceChildren(failure(error));
      if (error.status === 401) failed(error);
    }
  };
  return make("section", {},
    make("h2", {}, "Verification"),
    make("div", { class: "tools" }, make("label", { for: "level" }, "Level"), level, button("Verify now", verify, { class: "" })),
    result,
    make("p", { class: "aside" }, "The verdict is this server's word. Whoever does not trust the server saves the bundle and runs ",
      code(`runpack verify --expect-pack-id ${id} BUNDLE`), "."));
}

function verdict(report) {
  const name = Object.hasOwn(MEANINGS, report.verdict) ? report.verdict : "undecided";
  const findings = report.findings.length > 0
    && table("Findings", [["Code"], ["About", "name"], ["What it is"]], report.findings, findingRow);
  return [
    make("div", { class: `banner ${name}` },
      make("p", { class: "sign" }, name[0].toUpperCase() + name.slice(1)),
      make("p", {}, MEANINGS[name]),
      make("p", { class: "aside" }, `level ${report.level}, ${report.artifacts_proven} artifacts proven, `, size(report.bytes_read), " read")),
    findings || undefined,
    report.findings_unlisted > 0 ? make("p", {}, `and ${report.findings_unlisted} more`) : undefined,
  ].filter((part) => part !== undefined);
}

function findingRow({ code: found, about, detail, damaged_chunks: chunks = [] }) {
  const which = chunks.length > 0 && make("div", { class: "aside" }, `damaged chunks of 8 MiB, counted from 0: ${chunks.join(", ")}`);
  return [code(found), about === undefined ? "the pack" : said(about), make("span", {}, said(detail), which || undefined)];
}

/** Text as Markdown that is nothing but text. */
const plain = (text) => printable(text).replace(/[!-/:-@[-`{-~]/g, "\\$&");

function links(id, manifest, { signal }) {
  const output = make("textarea", { readonly: true, id: "markdown", hidden: true, "aria-label": "Links as Markdown" });
  const note = make("p", { class: "aside", role: "status" });
  const show = async () => {
    output.value = await markdown();
    output.hidden = false;
    output.select();
  };
  const markdown = async () => {
    try {
      const made = await json(`${path("packs", id)}/links`, { method: "POST", body: {}, signal });
      note.textContent = "Whoever has one of these links may read the artifact until it expires.";
      return made.links.map((link) => `- ${link.markdown}`).join("\n");
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== "wrong-state") throw error;
      note.textContent = "This store signs no links: these lead to this page, and whoever follows them signs in.";
      const url = `${location.origin}/#/packs/${encodeURIComponent(id)}`;
      const names = manifest.artifacts.map(({ name, bytes }) => `- ${plain(name)}, ${bytes} bytes`);
      return [`[Pack ${plain(id)}](<${url}>)`, "", ...names].join("\n");
    }
  };
  return make("section", {},
    make("h2", {}, "Links"),
    make("div", { class: "tools" },
      button("Make links as Markdown", show),
      button("Copy", () => (output.hidden ? show() : Promise.resolve()).then(() => copy(output.value)))),
    note, output);
}
