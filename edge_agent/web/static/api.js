// Asks the agent, and makes elements; the other modules use nothing else of the network.

export class Problem extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.details = error;
  }
}

/** Ask for a path below the page; returns the response. Throws Problem, or TypeError without a network. */
export async function ask(path, options = {}) {
  const response = await fetch(path, { credentials: "same-origin", cache: "no-cache", ...options });
  if (response.ok) return response;
  if (response.status === 401) location.assign("login");
  let error = { code: "failed", message: `the agent answers ${response.status}` };
  try {
    error = (await response.json()).error ?? error;
  } catch {
    // An answer that is no JSON: a proxy's.
  }
  throw new Problem(response.status, error);
}

/** The same, for JSON. */
export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

/** Send a value as JSON; returns the answer's. */
export function sendJson(path, value) {
  const headers = { "Content-Type": "application/json" };
  return askJson(path, { method: "POST", headers, body: JSON.stringify(value) });
}

/** An element with attributes and children; texts are texts, never HTML. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export const percent = (share) => `${Math.round(share * 100)}%`;

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves once the page is looked at. */
export function whileVisible() {
  if (document.visibilityState === "visible") return Promise.resolve();
  return new Promise((resolve) => {
    const check = () => {
      if (document.visibilityState !== "visible") return;
      document.removeEventListener("visibilitychange", check);
      resolve();
    };
    document.addEventListener("visibilitychange", check);
  });
}

/** Do `work` again and again while the page is looked at, `ms` after it is done; failures go to `onError`. */
export async function repeat(ms, work, onError) {
  for (;;) {
    await whileVisible();
    try {
      await work();
      onError(null);
    } catch (error) {
      onError(error);
      await pause(2000);
    }
    await pause(ms);
  }
}

/** A list of labels with bars. */
export function bars(top) {
  return top.map((score) =>
    make(
      "li",
      {},
      make("span", {}, score.label),
      make("output", {}, percent(score.score)),
      make("meter", { min: 0, max: 1, value: score.score, "aria-label": `${score.label}, probability` }, percent(score.score)),
    ),
  );
}
