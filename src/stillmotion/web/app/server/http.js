// Requests to this server, with the user's key if there is one.
import { key, keyWanted } from "../shell/session.js";
import { parse, write } from "../ui/json.js";

/** An answer that is not a success. `body` is its JSON, or its text. */
export class Refused extends Error {
  /** @param {number} status @param {any} body @param {Headers} headers */
  constructor(status, body, headers) {
    super(told(status, body));
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

/** @param {number} status @param {any} body */
function told(status, body) {
  const detail = body?.detail ?? body?.error?.message ?? body?.message;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail) && detail.length) return detail.map((each) => each.msg).join("; ");
  return `The server answered ${status}.`;
}

/**
 * @typedef {{method?: string, body?: unknown, raw?: BodyInit, headers?: Record<string, string>, signal?: AbortSignal,
 *   anonymous?: boolean}} Options `anonymous` sends no key, to URLs that are keys themselves
 */

/** Raises Refused, or TypeError when the server cannot be reached. @param {string} url @param {Options} [options] */
export async function send(url, { method = "GET", body, raw, headers = {}, signal, anonymous } = {}) {
  const sent = { ...headers };
  if (key.value && !anonymous) sent.authorization = `Key ${key.value}`;
  if (body !== undefined) sent["content-type"] = "application/json";
  const answer = await fetch(here(url), {
    method,
    headers: sent,
    body: body === undefined ? raw : write(body, 0),
    signal,
    cache: "no-store",
  });
  if (answer.ok) return answer;
  if (answer.status === 401 || answer.status === 403) keyWanted.value = true;
  throw new Refused(answer.status, await content(answer), answer.headers);
}

/** @param {string} url @param {Options} [options] @returns {Promise<any>} */
export async function ask(url, options) {
  return content(await send(url, options));
}

/** @param {Response} answer */
export async function content(answer) {
  const text = await answer.text();
  try {
    return parse(text);
  } catch {
    return text;
  }
}

/** The page's own origin, whatever name for it a URL of the server has. @param {string} url */
const here = (url) => {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
};
