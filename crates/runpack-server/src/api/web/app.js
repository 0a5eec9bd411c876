// The page for people: which part of it the address names, and who is signed in.
//
// What is shown is in the part of the address after `#`, which no server sees, so that a link can be shared; it never holds
// a token.

import { isSignedIn, json, path, Problem, request, signIn, signOut } from "./client.js";
import { failure, field, make, printable, said, tell } from "./page.js";
import { executions } from "./executions.js";
import { packs } from "./packs.js";
import { records } from "./records.js";

const PARTS = { records, executions, packs };

const main = document.getElementById("main");
const nav = document.getElementById("nav");

/** Who calls, as the server told it. */
let caller = null;
/** Ends what the page that is left was doing. */
let leaving = new AbortController();

/** The part of the address after `#`: its parts and its query. */
function place() {
  const [where, query] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  try {
    return { parts: where.split("/").filter((part) => part !== "").map(decodeURIComponent), query: new URLSearchParams(query) };
  } catch {
    return { parts: ["?"], query: new URLSearchParams() };
  }
}

/** Shows what the address names. */
async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  main.setAttribute("aria-busy", "true");
  const before = main.querySelector("h1")?.textContent;
  let shown;
  try {
    shown = await content(signal);
  } catch (error) {
    if (signal.aborted) return;
    shown = error.status === 401 ? signInPage(error) : [make("h1", {}, "This was not done"), failure(error)];
  }
  if (signal.aborted) return;
  main.replaceChildren(...[shown].flat());
  main.removeAttribute("aria-busy");
  const heading = main.querySelector("h1");
  heading.setAttribute("tabindex", "-1");
  document.title = `${heading.textContent} - Runpack`;
  main.querySelector("input[type=password]")?.focus();
  // Whoever reads with a screen reader or the keyboard starts at what is new; what was only renewed stays as it was.
  if (before !== undefined && before !== heading.textContent && main.contains(document.activeElement) === false) heading.focus();
}

async function content(signal) {
  if (!isSignedIn()) return signInPage();
  caller ??= await json(path("caller"), { signal });
  const { parts, query } = place();
  mark(parts[0]);
  if (parts.length === 0) return home();
  const part = Object.hasOwn(PARTS, parts[0]) ? PARTS[parts[0]] : undefined;
  const page = await part?.(parts.slice(1), query, { signal, grants: caller.grants, failed });
  if (page === undefined) throw new Problem({ title: "there is no such page", next: "correct the address" });
  return page;
}

/** What failed after the page was there: who is not known any more signs in again. */
function failed(error) {
  if (error.status === 401) main.replaceChildren(...signInPage(error));
  else tell(error.message);
}

function mark(part) {
  nav.hidden = false;
  for (const link of nav.querySelectorAll("a")) {
    if (link.hash === `#/${part}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const name = document.getElementById("signed-in");
  name.hidden = false;
  name.textContent = printable(caller.name);
  name.title = printable(caller.name);
  document.getElementById("sign-out").hidden = false;
}

function home() {
  const cards = caller.grants.map(({ organization, project, may }) => {
    const link = (to, names, text) => {
      const given = Object.entries(names).filter(([, value]) => value !== undefined);
      return make("a", { href: `#/${to}?${new URLSearchParams(given)}` }, text);
    };
    return make("section", { class: "card" },
      make("h2", {}, said(organization)),
      make("p", {}, project === undefined ? "All projects" : ["Project ", said(project)]),
      make("p", { class: "aside" }, `May ${may.join(" and ")}`),
      make("p", { class: "tools" },
        link("records", { organization, project }, "Records"),
        link("executions", { organization, project }, "Executions"),
        link("packs", { tenant: organization, namespace: project }, "Packs")));
  });
  return [
    make("h1", {}, "Evidence"),
    make("p", { class: "kicker" }, "Signed in as ", said(caller.name)),
    make("div", { class: "cards" }, cards),
  ];
}

function signInPage(problem) {
  caller = null;
  nav.hidden = true;
  document.getElementById("signed-in").hidden = true;
  document.getElementById("sign-out").hidden = true;
  const submit = async (event) => {
    event.preventDefault();
    const input = event.target.querySelector("input");
    const press = event.target.querySelector("button");
    press.disabled = true;
    try {
      signIn(input.value.trim());
      await request(path("caller"));
      await show();
    } catch (error) {
      signOut();
      main.replaceChildren(...signInPage(error));
      main.querySelector("input").focus();
    } finally {
      press.disabled = false;
    }
  };
  const token = field("Token", { type: "password", "aria-describedby": "token-help" });
  return [make("div", { class: "sign-in" },
    make("h1", {}, "Sign in"),
    problem && failure(problem),
    make("form", { submit }, token, make("button", {}, "Sign in")),
    make("p", { class: "aside", id: "token-help" },
      "The token is kept in this tab until it is closed, and is sent to this server alone. Leave it empty where a proxy in " +
      "front of the server knows who you are."))];
}

document.getElementById("sign-out").addEventListener("click", () => {
  signOut();
  leaving.abort();
  main.replaceChildren(...signInPage());
  main.querySelector("input").focus();
});
addEventListener("hashchange", show);
show();
