// The right side of the playground: the run that is shown, and the others to choose from.
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button, Notice } from "../ui/controls.js";
import { duration, plain } from "../ui/text.js";
import { isOurs } from "../form/picture.js";
import { Result } from "./result.js";
import { dismiss, isOver, runs, shownRun, stop } from "./runs.js";

/** @typedef {import("./runs.js").Run} Run @typedef {import("../form/state.js").Form} Form */

/** @type {Record<string, string>} */
const WORDS = {
  queued: "In the queue",
  running: "Working",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
  gone: "No longer on the server",
};

/** @param {{form: Form, onRun: () => void, photo: string}} props */
export function RunPanel({ form, onRun, photo }) {
  const run = runs.value.find((each) => each.id === shownRun.value);
  return html`<section class="run" aria-label="Output">
    ${runs.value.length > 1 && html`<${Shelf} />`}
    ${run ? html`<${Shown} key=${run.id} run=${run} form=${form} onRun=${onRun} />` : html`<${Empty} photo=${photo} />`}
  </section>`;
}

/** @param {{photo: string}} props */
const Empty = ({ photo }) =>
  html`<div class="stage empty">
    ${photo && html`<img src=${photo} alt="" />`}
    <p>The video appears here.<br /><span>Run with the button, or with Ctrl + Enter.</span></p>
  </div>`;

function Shelf() {
  return html`<div class="shelf" role="group" aria-label="Runs">
    ${runs.value.map(
      (run, index) => html`<button
        type="button" key=${run.id} class="chip ${run.phase.value}" aria-pressed=${String(run.id === shownRun.value)}
        onClick=${() => (shownRun.value = run.id)}
      >
        <span class="dot" aria-hidden="true"></span>
        ${new Date(run.at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" })}
        <span class="visually-hidden">${index === 0 ? ", newest" : ""}, ${WORDS[run.phase.value]}</span>
      </button>`,
    )}
  </div>`;
}

/** @param {{run: Run, form: Form, onRun: () => void}} props */
function Shown({ run, form, onRun }) {
  const phase = run.phase.value;
  if (phase === "done") {
    return html`<${Result} run=${run} form=${form} onRun=${onRun} /><${Log} run=${run} />`;
  }
  return html`${isOver(phase) ? html`<${Ended} run=${run} />` : html`<${Waiting} run=${run} />`}<${Log} run=${run} open />`;
}

/** @param {{run: Run}} props */
function Waiting({ run }) {
  const now = useNow();
  const { value: progress } = run.progress;
  const queued = run.phase.value === "queued";
  const position = run.position.value ?? 0;
  const start = run.input?.image_url;
  return html`<div class="stage working" aria-busy="true">
    ${!run.preview.value && typeof start === "string" && isOurs(start) && html`<img class="waiting-picture" src=${start} alt="" />`}
    ${run.preview.value && html`<img class="preview" src=${run.preview.value} alt="A look at the unfinished video" />`}
    <div class="working-words">
      <p class="headline">${queued ? "In the queue" : progress ? stageWords(progress) : "Preparing"}</p>
      <p class="working-detail">
        ${queued
          ? position === 0 ? "Next in line" : `${position} ahead of it`
          : progress
            ? `Step ${progress.step} of ${progress.total}${progress.eta_seconds === null ? "" : `, about ${duration(progress.eta_seconds)} left`}`
            : "The picture is fetched and the text is read"}
      </p>
      <progress class="bar" max="100" value=${queued ? undefined : progress?.percent ?? 0} aria-label="Progress">
        ${plain(progress?.percent ?? 0)} %
      </progress>
      <p class="working-foot">
        <span>${duration((now - run.at) / 1000)} since it was sent</span>
        <${Button}
          icon="close" kind="small" label=${run.cancelling.value ? "Cancelling …" : "Cancel"} disabled=${run.cancelling.value}
          onClick=${() => stop(run)}
        />
      </p>
      ${run.lost.value && html`<p class="faults" role="status">The connection is lost; the request goes on. Trying again …</p>`}
    </div>
  </div>`;
}

/** @param {import("./runs.js").Progress} progress */
function stageWords(progress) {
  if (progress.step >= progress.total && progress.stage >= progress.stages) return "Finishing";
  return progress.stages > 1 ? `Stage ${progress.stage} of ${progress.stages}` : "Denoising";
}

/** @param {{run: Run}} props */
function Ended({ run }) {
  const error = run.error.value;
  return html`<div class="stage ended">
    <${Notice} action=${html`<${Button} kind="small" label="Dismiss" onClick=${() => dismiss(run)} />`}>
      <strong>${WORDS[run.phase.value]}.</strong>${run.phase.value === "failed" && error && html`<${Reason} error=${error} />`}
    <//>
  </div>`;
}

/** @param {{error: {message: string, type: string, detail: import("../server/platform.js").Fault[]}}} props */
const Reason = ({ error }) =>
  error.detail.length
    ? html`${error.detail.map((fault) => html`<span class="reason"><code>${fault.loc.slice(1).join(".") || "input"}</code> ${fault.msg}</span>`)}`
    : html` ${error.message} <code>${error.type}</code>`;

/** @param {{run: Run, open?: boolean}} props */
function Log({ run, open }) {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const lines = run.logs.value;
  const follows = useSignal(true);
  useEffect(() => {
    if (follows.value && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [lines.length]);
  const scrolled = (/** @type {any} */ event) => {
    const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
    follows.value = scrollHeight - scrollTop - clientHeight < 24;
  };
  return html`<details class="log" open=${open}>
    <summary><span>Log</span><span class="count">${lines.length}</span></summary>
    <ol ref=${list} tabindex="0" aria-label="Log of the request" onScroll=${scrolled}>
      ${lines.map(
        (line, index) => html`<li key=${index} class=${line.level.toLowerCase()}>
          <time datetime=${line.timestamp}>${line.timestamp.slice(11, 19)}</time> <span>${line.message}</span>
        </li>`,
      )}
      ${!lines.length && html`<li class="none">Nothing yet.</li>`}
    </ol>
    <p class="log-id">Request <code>${run.id}</code></p>
  </details>`;
}

/** The time, once a second. */
function useNow() {
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return now.value;
}
