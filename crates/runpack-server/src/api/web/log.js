// A log, followed while it is written.
//
// The end is followed only while it is in sight; of a long log the page holds the last part. Pausing ends the request and
// remembers the place, so that the server does not wait for somebody who does not read.

import { path, query, request } from "./client.js";
import { button, make, printableLines } from "./page.js";

export const LOGS = ["runner", "bench", "stdout", "stderr"];

/** How many characters the page holds, and how many are put in it at once. */
const HELD_MAX = 2 * 1024 * 1024;
const PIECE = 16 * 1024;
/** Text that comes is shown in strokes, milliseconds apart. */
const STROKE = 50;
const RETRIES = [1_000, 2_000, 5_000, 10_000];

/** The log with its tools. `refresh` asks how far the execution is. */
export function logView({ id, log, known, refresh, context }) {
  const text = make("pre", { class: "log", role: "log", tabindex: 0, "aria-label": `${log} of the execution`, "aria-live": "polite" });
  const state = make("span", { class: "live", role: "status", id: "log-state" });
  const cut = make("p", { class: "aside", hidden: true }, "Only the end of the log is shown.");
  const screen = new Screen(text, cut);
  const tell = (words, kind = "") => {
    state.className = kind;
    state.replaceChildren(make("span", { class: "dot", "aria-hidden": "true" }), words);
  };
  const reading = new Reading({ id, log, known, refresh, context, screen, tell });
  const pause = button("Pause", () => {
    if (reading.isPaused) reading.follow();
    else reading.pause();
    pause.textContent = reading.isPaused ? "Resume" : "Pause";
  });
  reading.ended = () => {
    pause.hidden = true;
  };
  reading.follow();
  const end = button("To the end", () => screen.toEnd());
  return make("section", { "aria-label": `Log ${log}` }, make("div", { class: "tools" }, state, make("span", { class: "end" }), pause, end), cut, text);
}

/** Where the text of a log is shown. */
class Screen {
  #element;
  #cut;
  #held = 0;
  #waiting = "";
  #stroke;

  constructor(element, cut) {
    this.#element = element;
    this.#cut = cut;
  }

  add(text) {
    this.#waiting += text;
    // What would be taken away again is not put in.
    if (this.#waiting.length > HELD_MAX) this.#waiting = this.#waiting.slice(-HELD_MAX);
    this.#stroke ??= setTimeout(() => this.#show(), STROKE);
  }

  sayCut() {
    this.#cut.hidden = false;
  }

  toEnd() {
    this.#element.scrollTop = this.#element.scrollHeight;
  }

  #show() {
    const element = this.#element;
    const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 24;
    const text = printableLines(this.#waiting);
    this.#waiting = "";
    this.#stroke = undefined;
    for (let at = 0; at < text.length; at += PIECE) element.append(text.slice(at, at + PIECE));
    this.#held += text.length;
    while (this.#held > HELD_MAX) {
      this.#held -= element.firstChild.length;
      element.firstChild.remove();
      this.sayCut();
    }
    if (isAtEnd) this.toEnd();
  }
}

/** Reading a log from where it was left. */
class Reading {
  isPaused = true;
  ended = () => {};
  #with;
  #offset = 0;
  #decoder = new TextDecoder();
  #held = "";
  #stop;

  constructor(parts) {
    this.#with = parts;
    const { log, known, screen } = parts;
    const stored = known.items.find((item) => item.name === `logs/${log}.log`);
    // Of a log whose size is known, what would not be held is not asked for.
    if (known.status.status === "complete" && stored !== undefined && stored.bytes > HELD_MAX) {
      this.#offset = stored.bytes - HELD_MAX;
      screen.sayCut();
    }
  }

  pause() {
    this.isPaused = true;
    this.#stop.abort();
    this.#with.tell("Paused");
  }

  async follow() {
    const { context, tell } = this.#with;
    this.isPaused = false;
    this.#stop = new AbortController();
    const signal = AbortSignal.any([context.signal, this.#stop.signal]);
    try {
      for (let tries = 0; ; tries += 1) {
        const before = this.#offset;
        const isOver = await this.#once(signal);
        if (isOver) break;
        if (this.#offset > before) tries = 0;
        await pause(RETRIES[Math.min(tries, RETRIES.length - 1)], signal);
      }
      this.ended();
    } catch (error) {
      if (signal.aborted) return;
      tell(error.message, "lost");
      context.failed(error);
    }
  }

  /** Reads until nothing more comes: whether that was the end. */
  async #once(signal) {
    const { id, log, known, refresh, tell } = this.#with;
    const isThere = known.status.status !== "complete" || known.items.some((item) => item.name === `logs/${log}.log`);
    if (!isThere) {
      tell("The execution has ended; it has no such log");
      return true;
    }
    try {
      const address = `${path("executions", id)}/logs/${log}${query({ from: this.#offset, follow: true })}`;
      const answer = await request(address, { signal });
      tell(known.status.status === "open" ? "Following" : "Reading", "live");
      const reader = answer.body.getReader();
      for (let read = await reader.read(); !read.done; read = await reader.read()) {
        this.#offset += read.value.length;
        this.#take(this.#decoder.decode(read.value, { stream: true }));
      }
    } catch (error) {
      if (signal.aborted || (error.status !== undefined && error.status < 500 && error.status !== 429)) throw error;
      tell("The connection was lost; trying again", "lost");
      return false;
    }
    const { status } = await refresh();
    known.status = status;
    if (status.status === "open" || status.status === "completing") {
      tell(status.status === "open" ? "Waiting" : "The execution is being completed");
      return false;
    }
    this.#take(this.#decoder.decode());
    tell("The execution has ended; this is all of it");
    return true;
  }

  /** Lines end with a line feed here, also those that ended with a carriage return before it. */
  #take(text) {
    const whole = (this.#held + text).replaceAll("\r\n", "\n");
    this.#held = whole.endsWith("\r") ? "\r" : "";
    this.#with.screen.add(this.#held ? whole.slice(0, -1) : whole);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
