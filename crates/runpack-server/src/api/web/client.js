// Asking the server.
//
// The token is in memory and in this tab's session storage, and goes into one header of requests to this server: never
// into an address, and never further.

const KEPT = "runpack.token";
/** Kept in place of a token by whoever is signed in by a proxy. */
const BY_PROXY = "";

let token = sessionStorage.getItem(KEPT);

export const isSignedIn = () => token !== null;

/** Uses this token from now on; an empty one leaves it to a proxy to say who calls. */
export function signIn(text) {
  if (!/^[\w.~+/=-]*$/.test(text)) throw new Problem({ title: "this is no token", next: "paste one token and nothing around it" });
  token = text === "" ? BY_PROXY : text;
  sessionStorage.setItem(KEPT, token);
}

export function signOut() {
  token = null;
  sessionStorage.removeItem(KEPT);
}

/** What was not done (RFC 9457). */
export class Problem extends Error {
  constructor({ title, detail, next, code, at, status }, request) {
    super(title);
    Object.assign(this, { name: "Problem", detail, next, code, at, status, request });
  }
}

/** A path of the interface; no part of it leads elsewhere. */
export function path(...parts) {
  for (const part of parts) {
    if (part === "" || part === "." || part === "..") throw new Problem({ title: "there is no such page", next: "correct the address" });
  }
  return `/v1/${parts.map(encodeURIComponent).join("/")}`;
}

/** The path of an artifact, whose name may have several parts. */
export const artifactPath = (packId, name) => path("packs", packId, "artifacts", ...name.split("/"));

/** A query of what is given. */
export function query(entries) {
  const given = Object.entries(entries).filter(([, value]) => value !== undefined && value !== "");
  return given.length > 0 ? `?${new URLSearchParams(given)}` : "";
}

/** The answer to a request, if it is a good one; else a problem is thrown. */
export async function request(address, { method = "GET", body, signal } = {}) {
  const headers = new Headers();
  if (token) headers.set("Authorization", `Bearer ${token}`);
  if (body !== undefined) headers.set("Content-Type", "application/json");
  let answer;
  try {
    answer = await fetch(address, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      // A proxy in front of the server may know people by a cookie of its own.
      credentials: "same-origin",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "the server did not answer", next: "try again; where it stays so, look whether the server runs" });
  }
  if (answer.ok) return answer;
  const id = answer.headers.get("X-Request-Id") ?? undefined;
  let told = { title: `the server answered ${answer.status}` };
  if (answer.headers.get("Content-Type") === "application/problem+json") told = await answer.json();
  throw new Problem({ ...told, status: answer.status }, id);
}

export const json = async (address, options) => (await request(address, options)).json();

export const text = async (address, options) => (await request(address, options)).text();

/** A file is saved through memory, for the token is in no address; a larger one is for a program. */
const SAVED_BYTES_MAX = 256 * 1024 * 1024;

/** Saves what is there as a file. */
export async function save(address, name, bytes, signal) {
  if (bytes > SAVED_BYTES_MAX) {
    throw new Problem({ title: "this is too large to be saved from a page", next: curl("GET", address) });
  }
  const blob = await (await request(address, { signal })).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.split("/").pop();
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The same request for a terminal; the token comes from the environment. */
export function curl(method, address, mediaType) {
  const parts = ["curl --fail-with-body", '-H "Authorization: Bearer $RUNPACK_TOKEN"'];
  if (method !== "GET") parts.push(method === "HEAD" ? "--head" : `-X ${method}`);
  if (mediaType) parts.push(`-H ${quoted(`Content-Type: ${mediaType}`)} --data-binary @FILE`);
  parts.push(quoted(location.origin + address));
  return parts.join(" ");
}
