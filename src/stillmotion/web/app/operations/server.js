// The operators' side of the platform API.
import { ask } from "../server/http.js";

/**
 * @typedef {{name: string, state: "active" | "draining" | "drained", slots: number, models: string[],
 *   endpoints: string[], loaded: string | null, running: string[]}} Engine
 * @typedef {{waiting: number, running: number, endpoints: {endpoint_id: string, waiting: Record<string, number>,
 *   running: number, oldest_waiting_seconds: number | null}[]}} Depths
 * @typedef {{request_id: string, endpoint_id: string, key: string, state: string, priority: "normal" | "low",
 *   created_at: string, started_at: string | null, ended_at: string | null, engine: string | null, attempt: number,
 *   cancelling: boolean, error: null | {status_code: number, error_type: string, message: string}}} Asked
 * @typedef {{stage: number, stages: number, step: number, total: number, percent: number}} Progress
 * @typedef {Asked & {phase: "preparing" | "starting" | "denoising" | "finishing" | null,
 *   progress: Progress | null}} Underway
 * @typedef {{running: Underway[], waiting: Asked[], failed: Asked[]}} Board
 * @typedef {{key: string, endpoint_id: string, request_count: number, unit: string | null, quantity: number,
 *   cost: number, gpu_seconds: number, video_seconds: number}} Used
 * @typedef {{day: string, results: Used[]}} Day
 * @typedef {{key_id: string, alias: string, scope: "api" | "admin", created_at: string,
 *   revoked_at: string | null}} Key
 * @typedef {{attempt: number, at: string, status: number | null, error: string | null, seconds: number | null,
 *   next_attempt_at: string | null}} Delivery
 * @typedef {{request_id: string, key: string, endpoint_id: string, url: string,
 *   state: "waiting" | "pending" | "delivered" | "failed", attempts: number, next_attempt_at: string | null,
 *   last?: Delivery | null}} Webhook
 * @typedef {{folder: string, free_bytes: number, total_bytes: number}} Disk
 * @typedef {{data: Disk, models: Disk, reserve_bytes: number,
 *   kinds: {kind: string, files: number, size_bytes: number}[]}} Disks
 * @typedef {{name: string, state: "running" | "done" | "failed" | "stopped", size_bytes: number, done_bytes: number,
 *   bytes_per_second: number | null, error: string | null, note: string | null,
 *   files: {file: string, size_bytes: number, done_bytes: number,
 *     state: "waiting" | "fetching" | "checking" | "done"}[]}} Pull
 * @typedef {{name: string, state: "complete" | "incomplete" | "absent", kind: "bundle" | "classifier",
 *   size_bytes: number, missing_bytes: number, licence: string | null, licence_url: string | null,
 *   accepted: string | null, used_by: string[], pull: Pull | null}} Bundle
 * @typedef {{name: string, source: string, to_fetch_bytes: number, free_bytes: number, reserve_bytes: number,
 *   parts: {part: string, size_bytes: number, files: number, here: boolean}[], notes: string[],
 *   terms: {name: string, url: string | null, text: string | null}[]}} Plan
 */

/** @returns {Promise<Engine[]>} */
export const engines = async () => (await ask("/v1/engines")).engines;

/** @param {string} name @param {boolean} out */
export const drain = (name, out) =>
  ask(`/v1/engines/${encodeURIComponent(name)}/${out ? "drain" : "resume"}`, { method: "POST" });

/** @returns {Promise<Depths>} */
export const depths = () => ask("/v1/queue");

/** @param {number} limit @returns {Promise<Board>} */
export const board = (limit) => ask(`/v1/queue/requests?limit=${limit}`);

/** @param {string} id */
export const cancelAnyones = (id) => ask(`/v1/queue/requests/${id}/cancel`, { method: "PUT" });

/** By days of `timezone`. @param {Date} start @param {string} timezone @returns {Promise<Day[]>} */
export const usage = async (start, timezone) =>
  (await ask(`/v1/usage?${new URLSearchParams({ start: start.toISOString(), timezone })}`)).days;

/** @returns {Promise<{keys: Key[], required: boolean}>} */
export const keys = () => ask("/v1/keys");

/** @param {string} alias @param {string} scope @returns {Promise<{key_id: string, key: string}>} */
export const createKey = (alias, scope) => ask("/v1/keys", { method: "POST", body: { alias, scope } });

/** @param {string} id */
export const revokeKey = (id) => ask(`/v1/keys/${id}`, { method: "DELETE" });

/** Of all keys. @param {number} limit @returns {Promise<{webhooks: Webhook[], has_more: boolean}>} */
export const webhooks = (limit) => ask(`/v1/webhooks?key=*&limit=${limit}`);

/** @param {Webhook} webhook */
const at = ({ request_id: id }) => `/v1/webhooks/${id}`;
/** @param {Webhook} webhook */
const of = ({ key }) => `?key=${encodeURIComponent(key)}`;

/** @param {Webhook} webhook @returns {Promise<Webhook & {deliveries: Delivery[]}>} */
export const deliveries = (webhook) => ask(at(webhook) + of(webhook));

/** @param {Webhook} webhook */
export const redeliver = (webhook) => ask(`${at(webhook)}/redeliver${of(webhook)}`, { method: "POST" });

/** @returns {Promise<Disks>} */
export const disks = () => ask("/v1/disk");

/** @returns {Promise<{folder: string, bundles: Bundle[]}>} */
export const bundles = () => ask("/v1/bundles");

/** @param {string} name */
const bundle = (name) => `/v1/bundles/${encodeURIComponent(name)}`;

/** @param {string} name @returns {Promise<Plan>} */
export const planOf = (name) => ask(`${bundle(name)}/plan`);

/** @param {string} name @param {boolean} accepted */
export const beginPull = (name, accepted) =>
  ask(`${bundle(name)}/pull`, { method: "POST", body: accepted ? { accept_licence: true } : {} });

/** @param {string} name */
export const stopPull = (name) => ask(`${bundle(name)}/pull`, { method: "DELETE" });

/** @param {string} name */
export const removeBundle = (name) => ask(bundle(name), { method: "DELETE" });
