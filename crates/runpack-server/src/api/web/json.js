// JSON as it was written: laid out, and otherwise untouched.
//
// `JSON.parse` rounds large numbers, keeps the last of two members of one name and unescapes texts. Evidence is shown as it
// is, so only the space between tokens is changed here. What is given in is valid JSON: the server has checked it.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gy;
const SPACE = /\s*/y;

function* tokens(text) {
  let at = 0;
  for (;;) {
    SPACE.lastIndex = at;
    SPACE.test(text);
    TOKEN.lastIndex = SPACE.lastIndex;
    const found = TOKEN.exec(text);
    if (found === null) return;
    at = TOKEN.lastIndex;
    yield [found[0], found.index];
  }
}

/** The members of an object: name to the text of its value, in order. */
export function members(text) {
  const found = new Map();
  let [depth, name, start, end] = [0, null, 0, 0];
  for (const [token, at] of tokens(text)) {
    if (depth === 1 && (token === "," || token === "}") && name !== null) {
      found.set(JSON.parse(name), text.slice(start, end));
      name = null;
    } else if (depth === 1 && name === null && token[0] === '"') {
      name = token;
    } else if (depth === 1 && token === ":") {
      start = at + 1;
    }
    if (token === "{" || token === "[") depth += 1;
    if (token === "}" || token === "]") depth -= 1;
    end = at + token.length;
  }
  return found;
}

/** The text with a line for each value. */
export function laidOut(text) {
  const out = [];
  let [depth, before] = [0, ""];
  const line = () => out.push("\n", "  ".repeat(depth));
  for (const [token] of tokens(text)) {
    const closes = token === "}" || token === "]";
    const isEmpty = closes && (before === "{" || before === "[");
    if (closes) depth -= 1;
    if (!isEmpty && (closes || before === "{" || before === "[" || before === ",")) line();
    if (token === "{" || token === "[") depth += 1;
    out.push(token === ":" ? ": " : token);
    before = token;
  }
  return out.join("");
}
