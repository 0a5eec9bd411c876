// Parts of pages.
//
// Everything that is shown goes through here as text: nothing becomes HTML, and no character hides itself, moves what
// stands around it, or speaks to a terminal.

// As the programs show untrusted text: control characters, and what is invisible or directional.
const HIDDEN =
  /[\p{Cc}\p{Cs}\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\u{1d173}-\u{1d17a}\ue000-\uf8ff\u{e0000}-\u{10ffff}]/gu;

const escaped = (found) => `\\u{${found.codePointAt(0).toString(16)}}`;

/** One line, with everything hidden escaped. */
export const printable = (text) => String(text).replace(HIDDEN, escaped);

/** The same for a text of many lines, whose lines and tabs stay. */
export const printableLines = (text) =>
  String(text).replace(HIDDEN, (found) => (found === "\n" || found === "\t" ? found : escaped(found)));

/** An element. A text among its children is escaped, and none where there is nothing; an attribute that is a function listens. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children.flat()) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : printable(child));
  }
  return element;
}

/** What somebody else wrote: isolated, so that it does not turn what stands around it. */
export const said = (text) => make("bdi", {}, text);

/** A text of many lines that somebody else wrote. */
export function block(text, label) {
  const pre = make("pre", { class: "tall", tabindex: 0, role: "region", "aria-label": label });
  pre.append(printableLines(text));
  return pre;
}

export const code = (text) => make("code", {}, said(text));

export const digest = (text) => make("code", { class: "digest" }, said(text));

/** A time as it is written, in UTC. */
export function when(time) {
  const text = /^\d{4}-\d\d-\d\dT[\d:]{8}Z$/.test(time) ? time.replace("T", " ").replace("Z", " UTC") : time;
  return make("time", { class: "when", datetime: time }, text);
}

/** A size, for people; the exact one on asking. */
export function size(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 ? `${bytes} ${bytes === 1 ? "byte" : "bytes"}` : `${value.toFixed(1)} ${units[unit]}`;
  return make("span", { title: `${bytes} bytes` }, text);
}

/** Names with values; what has no value is left out. */
export function facts(entries) {
  const rows = entries.filter(([, value]) => value !== undefined && value !== null);
  return make("dl", {}, rows.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value instanceof Node ? value : said(value)))));
}

/** Rows shown at once: a browser is slow with more. */
const ROWS = 200;

/** A table of `columns` (`[title, class]`), with a row for each of `items`; many are shown part by part. */
export function table(caption, columns, items, row) {
  const body = make("tbody");
  const more = make("button", { class: "quiet", type: "button", click: () => show() });
  let shown = 0;
  const show = () => {
    const cells = (cell, at) => make("td", { class: columns[at][1] }, cell);
    body.append(...items.slice(shown, shown + ROWS).map((item) => make("tr", {}, row(item).map(cells))));
    shown = Math.min(shown + ROWS, items.length);
    more.hidden = shown === items.length;
    more.textContent = `Show more (${items.length - shown} left)`;
  };
  show();
  const head = columns.map(([title, kind]) => make("th", { scope: "col", class: kind }, title));
  const whole = make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, head)), body);
  return make("div", {}, make("div", { class: "scroll" }, whole), more);
}

let fields = 0;

/** An input with its label. */
export function field(label, attributes, options = []) {
  fields += 1;
  const id = `field-${fields}`;
  const list = options.length > 0 ? `${id}-list` : undefined;
  const known = make("datalist", { id: `${id}-list` }, options.map((value) => make("option", { value })));
  const input = make("input", { id, list, autocomplete: "off", spellcheck: "false", ...attributes });
  return make("div", { class: "field" }, make("label", { for: id }, label), input, list && known);
}

/** A form; `submit` gets what was filled in, by name. */
export function ask(inputs, action, submit) {
  const submitted = (event) => {
    event.preventDefault();
    const filled = [...new FormData(event.target)].map(([name, value]) => [name, value.trim()]);
    submit(Object.fromEntries(filled.filter(([, value]) => value !== "")));
  };
  return make("form", { class: "ask", submit: submitted }, inputs, make("button", {}, action));
}

/** A button that does something that may take a while or fail. */
export function button(text, act, attributes = {}) {
  const press = async () => {
    element.disabled = true;
    try {
      await act();
    } catch (error) {
      if (error.name !== "AbortError") tell(`${error.message}${error.next ? `: ${error.next}` : ""}`);
    } finally {
      element.disabled = false;
    }
  };
  const element = make("button", { class: "quiet", type: "button", click: press, ...attributes }, text);
  return element;
}

let forget;

/** Says something in passing. */
export function tell(text) {
  const told = document.getElementById("told");
  told.textContent = printable(text);
  clearTimeout(forget);
  forget = setTimeout(() => told.replaceChildren(), 8000);
}

/** Puts a text on the clipboard, where the browser lets us. */
export async function copy(text) {
  if (!navigator.clipboard) {
    tell("This browser copies nothing from a page without TLS: select the text and copy it");
    return;
  }
  await navigator.clipboard.writeText(text);
  tell("Copied");
}

/** What was not done, why, and what to do. */
export function failure(problem) {
  const known = problem.code ? make("a", { href: `/docs#${problem.code}` }, problem.code) : undefined;
  return make("div", { class: "banner invalid", role: "alert" },
    make("p", { class: "sign" }, said(problem.message)),
    problem.detail && make("p", {}, said(problem.detail)),
    problem.at && make("p", {}, "At ", code(problem.at)),
    problem.next && make("p", {}, "Next: ", said(problem.next)),
    make("p", { class: "aside" }, known, problem.request && " request ", problem.request && code(problem.request)));
}
