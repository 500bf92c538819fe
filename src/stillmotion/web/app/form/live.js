// The line under the form: what the server would deliver for it, what that costs, and how long it takes here.
import { html } from "../ui/html.js";
import { counted, duration, money, plain } from "../ui/text.js";

/** @param {{form: import("./state.js").Form}} props */
export function LiveLine({ form }) {
  const told = form.figures.value;
  if (!told) return html`<p class="live" aria-live="off"><span class="live-quiet">Working out size, cost and time …</span></p>`;
  const faulty = told.num_frames === null;
  const parts = faulty ? [] : [size(told), counted(told.num_frames ?? 0, "frame"), length(told), volume(told)].filter(Boolean);
  return html`<div class="live">
    ${faulty
      ? html`<p class="live-quiet">${told.detail[0] ? `${told.detail[0].loc.slice(1).join(".")}: ${told.detail[0].msg}` : "No figures for this input."}</p>`
      : html`<p class="live-facts">${parts.map((part) => html`<span>${part}</span>`)}</p>
          <p class="live-facts">
            <span class="live-cost" title="What fal charges for the same work. Nobody is charged here.">${cost(told)}</span>
            <span title=${told.expected_from ? `From ${told.expected_from} earlier requests on this server` : "Nothing like it has run here yet"}>${time(told)}</span>
          </p>`}
    ${told.notes.length > 0 &&
    html`<details class="live-notes"><summary>How it is computed</summary><ul>${told.notes.map((note) => html`<li>${note}</li>`)}</ul></details>`}
  </div>`;
}

/** @typedef {import("../server/platform.js").Estimate} Estimate */

/** @param {Estimate} told */
const size = (told) => (told.width ? `${told.width} × ${told.height}` : "Size as the picture");

/** @param {Estimate} told */
const length = (told) => `${plain(told.seconds ?? 0)} s at ${plain(told.fps ?? 0, 3)} fps`;

/** @param {Estimate} told */
const volume = (told) => (told.megapixels === null ? "" : `${plain(told.megapixels, 1)} MP`);

/** @param {Pick<Estimate, "total_cost">} told */
export const cost = (told) => (told.total_cost === null ? "Cost follows the picture" : `${money(told.total_cost)} on fal`);

/** @param {Pick<Estimate, "expected_seconds">} told */
export const time = (told) =>
  told.expected_seconds === null ? "Time unknown until one has run here" : `about ${duration(told.expected_seconds)} here`;
