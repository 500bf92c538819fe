// What the server offers, what it costs, and what this key has made: the platform API.
import { ask } from "./http.js";

/**
 * @typedef {{endpoint_id: string, metadata: {display_name: string, category: string, description: string, tags: string[],
 *   group: {key: string, label: string}}}} Model
 * @typedef {{endpoint_id: string, unit_price: number, unit: string, currency: string}} Price
 * @typedef {{endpoint_id: string, bundle: string, family: string, meant_for: string,
 *   kind: "checkpoint" | "demonstration" | "mock", licence: {name: string, url: string | null} | null, warm: boolean,
 *   available: boolean, note: string, sample_url: string | null, photo_url: string}} Served
 * @typedef {{name: string, url: string, thumbnail_url: string, width: number, height: number, prompt: string,
 *   credit: string}} Sample
 * @typedef {{loc: (string | number)[], msg: string, type: string}} Fault
 * @typedef {{total_cost: number | null, unit: string | null, quantity: number | null, unit_price: number | null,
 *   width: number | null, height: number | null, num_frames: number | null, fps: number | null, seconds: number | null,
 *   megapixels: number | null, notes: string[], model: string, expected_seconds: number | null, expected_from: number,
 *   detail: Fault[]}} Estimate
 * @typedef {{request_id: string, endpoint_id: string, state: "queued" | "running" | "done" | "failed" | "cancelled",
 *   created_at: string, ended_at: string | null, seconds: number | null, gpu_seconds: number | null, cost: number,
 *   billable_units: string, model: string | null, prompt: string | null, seed: number | null, width: number | null,
 *   height: number | null, num_frames: number | null, fps: number | null, duration: number | null,
 *   poster_url: string | null, video_url: string | null, content_type: string | null, playable_url: string | null,
 *   pinned: boolean,
 *   error: null | {status_code: number, error_type: string, message: string, detail?: any}}} Made
 * @typedef {{key: string | null, key_id: string | null, scope: "api" | "admin" | null, required: boolean}} Caller
 */

/** @returns {Promise<Model[]>} */
export const models = async () => (await ask("/v1/models")).models;

/** @returns {Promise<Price[]>} */
export const prices = async () => (await ask("/v1/models/pricing")).prices;

/** `samples`: has the looping videos made that are missing. @param {boolean} samples
 * @returns {Promise<{engine: string, models: Served[]}>} */
export const serving = (samples) => ask(`/v1/models/serving${samples ? "?ask=samples" : ""}`);

/** @returns {Promise<Sample[]>} */
export const samples = async () => (await ask("/v1/samples")).samples;

/** @param {string} endpoint @returns {Promise<any>} */
export const openapi = (endpoint) => ask(`/api/openapi/queue/openapi.json?endpoint_id=${encodeURIComponent(endpoint)}`);

/**
 * @param {string} endpoint @param {Record<string, unknown>} input
 * @param {{width: number, height: number} | undefined} size of the upright picture
 * @param {AbortSignal} signal @returns {Promise<Estimate>}
 */
export const estimate = (endpoint, input, size, signal) =>
  ask("/v1/models/pricing/estimate", {
    method: "POST",
    body: { estimate_type: "input", endpoint_id: endpoint, input: withoutData(input), image_size: size },
    signal,
  });

/** @param {Record<string, unknown>} input */
const withoutData = (input) =>
  Object.fromEntries(
    Object.entries(input).map(([name, value]) => [
      name,
      typeof value === "string" && value.startsWith("data:") ? "data:," : value,
    ]),
  );

/**
 * @param {{q?: string, endpoint_id?: string, state?: string, pinned?: string, cursor?: string, limit?: string}} wanted
 * @returns {Promise<{items: Made[], next_cursor: string | null, has_more: boolean}>}
 */
export function made(wanted) {
  const query = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
  return ask(`/v1/requests?${query}`);
}

/** @param {string} id @returns {Promise<Made & {input: Record<string, unknown> | null, output: any}>} */
export const madeOne = (id) => ask(`/v1/requests/${id}`);

/** @param {string} id @param {boolean} on */
export const pin = (id, on) => ask(`/v1/requests/${id}/pin`, { method: on ? "PUT" : "DELETE" });

/** @param {string} id */
export const forget = (id) => ask(`/v1/models/requests/${id}/payloads`, { method: "DELETE" });

/** URL of what browsers play for a result: for ProRes and GIF an H.264 copy, made now if need be.
 * @param {string} id @returns {Promise<string>} */
export const playable = async (id) => (await ask(`/v1/requests/${id}/playable?redirect=false`)).url;

/** How a program of this machine reaches the server. @returns {Promise<{https?: string, ca?: string}>} */
export const access = () => ask("/web/access.json");

/** Who asks, as the server sees it; nobody is refused. @returns {Promise<Caller>} */
export const caller = () => ask("/v1/caller");
