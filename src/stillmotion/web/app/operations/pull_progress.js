// A pull as far as it has come, and how it ended.
import { html } from "../ui/html.js";
import { counted, duration, plain } from "../ui/text.js";
import { size } from "./size.js";

/** @typedef {import("./server.js").Pull} Pull */

/** @param {{pull: Pull}} props */
export function PullProgress({ pull }) {
  if (pull.state === "failed") return html`<p class="op-fault">The pull failed: ${pull.error}</p>`;
  if (pull.state === "stopped") return html`<p class="op-note">The pull was stopped at ${size(pull.done_bytes)}. It goes on from there.</p>`;
  if (pull.state === "done") return html`<p class="op-note">${pull.note}</p>`;
  const at = pull.files.filter((file) => file.state === "fetching" || file.state === "checking");
  const over = pull.files.filter((file) => file.state === "done").length;
  const left = pull.bytes_per_second ? (pull.size_bytes - pull.done_bytes) / pull.bytes_per_second : null;
  return html`<div class="op-pull">
    <progress class="bar" max="100" value=${percent(pull)} aria-label=${`Download of ${pull.name}`}></progress>
    <p class="op-facts">
      <span class="op-pulled">${size(pull.done_bytes)} of ${size(pull.size_bytes)}</span>
      ${pull.size_bytes > 0 && html`<span>${plain(percent(pull), 0)} %</span>`}
      ${pull.bytes_per_second !== null && html`<span>${size(pull.bytes_per_second)}/s</span>`}
      ${left !== null && html`<span>about ${duration(left)} left</span>`}
      <span>${over} of ${counted(pull.files.length, "file")}</span>
    </p>
    ${at.map((file) => html`<p class="op-note" key=${file.file}>${file.state === "checking" ? "Checking" : "Fetching"} <code>${file.file}</code></p>`)}
  </div>`;
}

/** @param {Pull} pull */
const percent = (pull) => (pull.size_bytes ? (100 * pull.done_bytes) / pull.size_bytes : 0);
