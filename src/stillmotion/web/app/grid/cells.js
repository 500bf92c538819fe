// The requests of a grid: each is one that the user could have sent. They are sent one after another, each under a mark
// of its own, so that after a reload what was not sent is, and nothing is made twice.
import { batch, signal } from "@preact/signals";
import { Refused } from "../server/http.js";
import { cancel, follow, status, submit } from "../server/queue.js";
import { madeOne, playable } from "../server/platform.js";
import { parse, write } from "../ui/json.js";
import { announce } from "../ui/announce.js";

/**
 * @typedef {Record<string, any>} Input
 * @typedef {{endpoint: string, name: string, title: string, seeds: any[], values: any[],
 *   shape: number | null}} Plan rows are seeds, columns values of one field; `shape` is width by height
 * @typedef {Plan & {mark: string, at: number, input: Input | null, ids: (string | null)[], faults: (string | null)[],
 *   stopped: boolean}} Kept cells row by row; `input` is null where it is too large to be kept
 * @typedef {"unsent" | "queued" | "running" | "done" | "failed" | "cancelled" | "gone"} Phase
 * @typedef {ReturnType<typeof createCell>} Cell
 * @typedef {ReturnType<typeof createGrid>} Grid
 */

export const MOST_VALUES = 4;
const MOST_INPUT = 20_000;
const LOOK_MS = 700;
const AGAIN_MS = 2000;
/** Streams of progress at once: a browser has six connections to a host, and the page needs some. */
const MOST_STREAMS = 2;

/** The newest grid of the endpoint that is shown. */
export const shownGrid = signal(/** @type {Grid | null} */ (null));

/** @param {string} endpoint */
const place = (endpoint) => `stillmotion.grid.${endpoint}`;

/** @param {Phase} phase */
export const isOver = (phase) => phase !== "unsent" && phase !== "queued" && phase !== "running";

/** @param {any} seed @param {any} value @param {string | null} id @param {string | null} fault */
function createCell(seed, value, id, fault) {
  return {
    seed,
    value,
    id: signal(id),
    phase: signal(/** @type {Phase} */ (id ? "queued" : fault === null ? "unsent" : "failed")),
    position: signal(/** @type {number | null} */ (null)),
    percent: signal(/** @type {number | null} */ (null)),
    preview: signal(/** @type {string | null} */ (null)),
    url: signal(/** @type {string | null} */ (null)),
    poster: signal(/** @type {string | null} */ (null)),
    fault: signal(fault),
    streamed: false,
  };
}

/** @param {Kept} kept */
function createGrid(kept) {
  const { seeds, values } = kept;
  const pairs = seeds.flatMap((seed) => values.map((value) => ({ seed, value })));
  return {
    kept,
    cells: pairs.map(({ seed, value }, index) => createCell(seed, value, kept.ids[index] ?? null, kept.faults[index] ?? null)),
    stopping: signal(kept.stopped),
  };
}

/** @param {Plan} plan @param {Input} input without what the cells set */
export function beginGrid(plan, input) {
  const mark = [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join("");
  shownGrid.value = createGrid({ ...plan, mark, at: Date.now(), input, ids: [], faults: [], stopped: false });
  keep(shownGrid.value);
  attend(shownGrid.value);
}

/** Takes up the grid that was begun before for an endpoint. @param {string} endpoint */
export function restoreGrid(endpoint) {
  try {
    const kept = parse(localStorage.getItem(place(endpoint)) ?? "null");
    shownGrid.value = kept && createGrid(kept);
  } catch {
    shownGrid.value = null;
  }
  if (shownGrid.value) attend(shownGrid.value);
}

/** Its requests go on, and are in the history. @param {Grid} grid */
export function dismissGrid(grid) {
  localStorage.removeItem(place(grid.kept.endpoint));
  shownGrid.value = null;
}

/** Sends no more, and cancels what is not over. @param {Grid} grid */
export async function stopGrid(grid) {
  grid.stopping.value = grid.kept.stopped = true;
  keep(grid);
  for (const cell of grid.cells) {
    if (cell.id.value && !isOver(cell.phase.value)) await cancel(grid.kept.endpoint, cell.id.value).catch(() => {});
  }
}

/** What is sent for a cell. @param {Grid} grid @param {Cell} cell @returns {Input} */
export const inputOf = ({ kept }, { seed, value }) => ({ ...kept.input, [kept.name]: value, seed });

/** @param {Grid} grid */
function attend(grid) {
  sendAll(grid);
  lookOn(grid);
}

/** @param {Grid} grid */
async function sendAll(grid) {
  const { kept, cells, stopping } = grid;
  for (const [index, cell] of cells.entries()) {
    while (cell.phase.value === "unsent") {
      if (shownGrid.value !== grid) return;
      if (stopping.value) cell.phase.value = "cancelled";
      else if (!kept.input) refused(cell, "It was not sent before the page was closed.");
      else {
        try {
          const { request_id: id } = await submit(kept.endpoint, inputOf(grid, cell), `${kept.mark}-${index}`);
          batch(() => {
            cell.id.value = id;
            cell.phase.value = "queued";
          });
          // It was on its way when the others were cancelled.
          if (stopping.value) await cancel(kept.endpoint, id).catch(() => {});
        } catch (error) {
          const final = error instanceof Refused && error.status < 500 && error.status !== 429;
          if (final) refused(cell, error.message);
          else await pause(AGAIN_MS);
        }
      }
      keep(grid);
    }
  }
}

/** Asks for one cell after another until all are over. @param {Grid} grid */
async function lookOn(grid) {
  const open = () => grid.cells.filter((cell) => !isOver(cell.phase.value));
  const any = open().length > 0;
  while (open().length && shownGrid.value === grid) {
    for (const cell of open()) {
      try {
        if (cell.id.value) await look(grid, cell, cell.id.value);
      } catch (error) {
        if (error instanceof Refused && error.status === 404) cell.phase.value = "gone";
      }
    }
    if (open().length) await pause(LOOK_MS);
  }
  if (any && shownGrid.value === grid) announce("The grid is finished");
}

/** @param {Grid} grid @param {Cell} cell @param {string} id */
async function look(grid, cell, id) {
  const { endpoint } = grid.kept;
  const told = await status(endpoint, id);
  if (told.status === "COMPLETED") return settle(cell, id);
  batch(() => {
    cell.position.value = told.queue_position ?? null;
    cell.phase.value = told.status === "IN_QUEUE" ? "queued" : "running";
  });
  if (cell.phase.value !== "running" || cell.streamed) return;
  if (grid.cells.filter((each) => each.streamed && !isOver(each.phase.value)).length >= MOST_STREAMS) return;
  cell.streamed = true;
  follow(
    endpoint,
    id,
    ({ progress }) => {
      if (progress) cell.percent.value = progress.percent;
      if (progress?.preview) cell.preview.value = progress.preview;
    },
    new AbortController().signal,
  ).catch(() => (cell.streamed = false));
}

/** @param {Cell} cell @param {string} id */
async function settle(cell, id) {
  const item = await madeOne(id);
  // A copy of what browsers do not play is made when it is asked for.
  const url = item.state !== "done" ? null : (item.playable_url ?? (await playable(id).catch(() => null)));
  batch(() => {
    cell.url.value = url;
    cell.poster.value = item.poster_url;
    cell.fault.value = item.error?.message ?? null;
    cell.phase.value = item.state;
  });
}

/** @param {Cell} cell @param {string} message */
const refused = (cell, message) =>
  batch(() => {
    cell.fault.value = message;
    cell.phase.value = "failed";
  });

/** @param {Grid} grid */
function keep({ kept, cells }) {
  if (shownGrid.value?.kept !== kept) return;
  const input = kept.input && write(kept.input, 0).length <= MOST_INPUT ? kept.input : null;
  const faults = cells.map((cell) => (cell.id.value || cell.phase.value !== "failed" ? null : cell.fault.value));
  localStorage.setItem(place(kept.endpoint), write({ ...kept, input, faults, ids: cells.map((cell) => cell.id.value) }, 0));
}

/** @param {number} milliseconds */
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
