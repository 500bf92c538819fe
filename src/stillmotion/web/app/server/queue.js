// The queue: the same requests that any client of fal's sends.
import { ask, content, send } from "./http.js";
import { parse } from "../ui/json.js";

/**
 * @typedef {{message: string, level: string, timestamp: string}} LogLine
 * @typedef {{step: number, total: number, stage: number, stages: number, percent: number,
 *   eta_seconds: number | null, preview?: string | null}} Progress
 * @typedef {{status: "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED", request_id: string, queue_position?: number,
 *   logs?: LogLine[] | null, progress?: Progress | null, error?: string, error_type?: string,
 *   metrics?: {inference_time?: number | null}}} Status
 */

/** Owner and alias: the part of an endpoint's id under which its requests are. @param {string} endpoint */
export const app = (endpoint) => endpoint.split("/").slice(0, 2).join("/");

/** @param {string} endpoint @param {string} id */
const at = (endpoint, id) => `/queue/${app(endpoint)}/requests/${id}`;

/** `mark`: however often the same input is sent with it, it is one request. @param {string} endpoint
 * @param {Record<string, unknown>} input @param {string} [mark] @returns {Promise<Status>} */
export const submit = (endpoint, input, mark) =>
  ask(`/queue/${endpoint}`, {
    method: "POST",
    body: input,
    headers: { "x-stillmotion-preview": "1", ...(mark && { "idempotency-key": mark }) },
  });

/** @param {string} endpoint @param {string} id @returns {Promise<Status>} */
export const status = (endpoint, id) => ask(`${at(endpoint, id)}/status`);

/** @param {string} endpoint @param {string} id */
export const cancel = (endpoint, id) => ask(`${at(endpoint, id)}/cancel`, { method: "PUT" });

/** Output and the headers beside it; raises Refused with the request's own error. @param {string} endpoint @param {string} id */
export async function result(endpoint, id) {
  const answer = await send(at(endpoint, id));
  return { output: await content(answer), units: answer.headers.get("x-fal-billable-units"), model: answer.headers.get("x-stillmotion-model") };
}

/**
 * Tells every change of a request until it is completed; raises when the connection breaks before.
 * @param {string} endpoint @param {string} id @param {(status: Status) => void} tell @param {AbortSignal} signal
 */
export async function follow(endpoint, id, tell, signal) {
  const answer = await send(`${at(endpoint, id)}/status/stream?logs=1&progress=1`, { signal });
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop() ?? "";
    for (const event of events) if (event.startsWith("data: ")) tell(parse(event.slice(6)));
  }
}
