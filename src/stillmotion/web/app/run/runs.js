// Requests of this browser that were begun here: followed until they end, found again after a reload or a closed tab.
import { batch, signal } from "@preact/signals";
import { Refused } from "../server/http.js";
import { cancel, follow, result, submit } from "../server/queue.js";
import { madeOne } from "../server/platform.js";
import { parse, write } from "../ui/json.js";
import { announce } from "../ui/announce.js";

/**
 * @typedef {import("../server/queue.js").LogLine} LogLine
 * @typedef {import("../server/queue.js").Progress} Progress
 * @typedef {{id: string, endpoint: string, at: number, input: Record<string, any> | null}} Kept
 * @typedef {"queued" | "running" | "done" | "failed" | "cancelled" | "gone"} Phase
 * @typedef {ReturnType<typeof createRun>} Run
 */

const KEPT = "stillmotion.runs";
const MOST_KEPT = 12;
/** Characters; a picture inside the input would fill the browser's storage. */
const MOST_INPUT = 20_000;
const AGAIN_MS = [500, 1000, 2000, 5000];

/** The newest first. */
export const runs = signal(/** @type {Run[]} */ ([]));
export const shownRun = signal(/** @type {string | null} */ (null));

/** @param {Kept} kept @param {boolean} [fresh] begun on this page: its video may play as soon as it is there */
function createRun(kept, fresh = false) {
  return {
    ...kept,
    fresh,
    phase: signal(/** @type {Phase} */ ("queued")),
    position: signal(/** @type {number | null} */ (null)),
    progress: signal(/** @type {Progress | null} */ (null)),
    /** The newest look at the unfinished video. */
    preview: signal(/** @type {string | null} */ (null)),
    logs: signal(/** @type {LogLine[]} */ ([])),
    output: signal(/** @type {any} */ (null)),
    error: signal(/** @type {{message: string, type: string, detail: any} | null} */ (null)),
    /** Cost, times and pictures beside the output, once the platform has told them. */
    account: signal(/** @type {Awaited<ReturnType<typeof madeOne>> | null} */ (null)),
    cancelling: signal(false),
    lost: signal(false),
    began: signal(/** @type {number | null} */ (null)),
  };
}

/** Submits, and follows from then on; raises what the server refuses at once. @param {string} endpoint @param {Record<string, any>} input */
export async function begin(endpoint, input) {
  const { request_id: id, queue_position: position } = await submit(endpoint, input);
  const kept = write(input, 0).length <= MOST_INPUT ? input : null;
  const run = createRun({ id, endpoint, at: Date.now(), input: kept }, true);
  run.position.value = position ?? null;
  batch(() => {
    runs.value = [run, ...runs.value].slice(0, MOST_KEPT);
    shownRun.value = id;
  });
  keep();
  attend(run);
  announce("Request submitted");
  return run;
}

/** Takes up what was begun before for an endpoint. @param {string} endpoint */
export function restore(endpoint) {
  const found = kept().filter((each) => each.endpoint === endpoint);
  runs.value = found.map((each) => createRun(each));
  shownRun.value = found[0]?.id ?? null;
  runs.value.forEach(attend);
}

/** Shows a request that was begun elsewhere, and takes it up with the others. @param {Kept} kept */
export function open(kept) {
  if (!runs.value.some((run) => run.id === kept.id)) {
    const run = createRun(kept);
    runs.value = [run, ...runs.value].slice(0, MOST_KEPT);
    keep();
    attend(run);
  }
  shownRun.value = kept.id;
}

/** @param {Run} run */
export async function stop(run) {
  run.cancelling.value = true;
  try {
    await cancel(run.endpoint, run.id);
  } catch (error) {
    // It had ended already: the stream tells how.
    if (!(error instanceof Refused)) throw error;
  }
}

/** @param {Run} run */
export function dismiss(run) {
  runs.value = runs.value.filter((each) => each !== run);
  if (shownRun.value === run.id) shownRun.value = runs.value[0]?.id ?? null;
  keep();
}

/** @param {Phase} phase */
export const isOver = (phase) => phase !== "queued" && phase !== "running";

/** Follows a run to its end; a broken connection is made again, because the work goes on without it. @param {Run} run */
async function attend(run) {
  for (let tries = 0; ; tries += 1) {
    let told = false;
    let completed = false;
    try {
      let first = true;
      await follow(
        run.endpoint,
        run.id,
        (status) => {
          told = true;
          completed = hear(run, status, first);
          first = false;
        },
        new AbortController().signal,
      );
    } catch (error) {
      if (error instanceof Refused && error.status < 500) return refused(run, error);
    }
    if (completed) return settle(run);
    run.lost.value = !told;
    if (told) tries = 0;
    await new Promise((done) => setTimeout(done, AGAIN_MS[Math.min(tries, AGAIN_MS.length - 1)]));
  }
}

/** @param {Run} run @param {import("../server/queue.js").Status} status @param {boolean} first its logs are all there are */
function hear(run, status, first) {
  batch(() => {
    run.lost.value = false;
    if (status.logs) run.logs.value = first ? status.logs : [...run.logs.value, ...status.logs];
    run.position.value = status.queue_position ?? null;
    if (status.progress) run.progress.value = status.progress;
    if (status.progress?.preview) run.preview.value = status.progress.preview;
    if (status.status === "IN_PROGRESS" && run.phase.value === "queued") {
      run.phase.value = "running";
      run.began.value = Date.now();
      announce("The request is being worked at");
    }
  });
  return status.status === "COMPLETED";
}

/** @param {Run} run */
async function settle(run) {
  try {
    const { output } = await result(run.endpoint, run.id);
    batch(() => {
      run.output.value = output;
      run.phase.value = "done";
    });
    announce("The video is ready");
    keep();
    run.account.value = await madeOne(run.id);
  } catch (error) {
    if (error instanceof Refused && !run.output.value) refused(run, error);
  }
}

/** @param {Run} run @param {Refused} refusal */
function refused(run, refusal) {
  const body = refusal.body ?? {};
  const type = body.error_type ?? body.detail?.[0]?.type ?? "";
  batch(() => {
    run.error.value = { message: refusal.message, type, detail: Array.isArray(body.detail) ? body.detail : [] };
    run.phase.value = refusal.status === 404 ? "gone" : type === "client_cancelled" ? "cancelled" : "failed";
  });
  announce(run.phase.value === "cancelled" ? "The request was cancelled" : "The request failed");
}

/** @returns {Kept[]} */
function kept() {
  try {
    return parse(localStorage.getItem(KEPT) ?? "[]");
  } catch {
    return [];
  }
}

function keep() {
  const endpoints = new Set(runs.value.map((run) => run.endpoint));
  const [here] = endpoints.size ? [...endpoints] : [null];
  const others = kept().filter((each) => each.endpoint !== here && here !== null);
  const own = runs.value.map(({ id, endpoint, at, input }) => ({ id, endpoint, at, input }));
  localStorage.setItem(KEPT, write([...own, ...others].slice(0, 5 * MOST_KEPT), 0));
}
