// One engine: what it has in memory, what it works at, and the switch that takes it out.
import { useRef } from "preact/hooks";
import { html } from "../ui/html.js";
import { Button } from "../ui/controls.js";
import { announce } from "../ui/announce.js";
import { counted, duration, plain } from "../ui/text.js";
import { Confirmed, attempt } from "./parts.js";
import { drain } from "./server.js";

/**
 * @typedef {import("./server.js").Engine} Engine
 * @typedef {import("./server.js").Underway} Underway
 * @typedef {import("./parts.js").Words} Words
 */

/** @type {Record<string, string>} */
const PHASES = { preparing: "Fetching the input", starting: "Loading, reading the text", denoising: "Denoising", finishing: "Decoding and writing" };

/**
 * @param {{engine: Engine, running: Underway[], at: number, fault: Words, onCancel: (id: string) => void,
 *   onChanged: () => Promise<void>}} props
 */
export function EngineCard({ engine, running, at, fault, onCancel, onChanged }) {
  const state = stateOf(engine, running);
  const turn = (/** @type {boolean} */ out) =>
    attempt(fault, async () => {
      await drain(engine.name, out);
      announce(out ? "The engine takes no more requests" : "The engine takes requests again");
      await onChanged();
    });
  return html`<li class="op-engine ${state.kind}" data-engine=${engine.name}>
    <div class="op-engine-head">
      <div class="op-words">
        <h3>${engine.name}</h3>
        <p class="op-state"><span class="dot" aria-hidden="true"></span>${state.words}</p>
      </div>
      ${engine.state === "active"
        ? html`<${Confirmed} label="Take out" sure="Take it out" of=${engine.name} onSure=${() => turn(true)} />`
        : html`<${Button} kind="small" label="Take in again" aria-label=${`Take in again: ${engine.name}`} onClick=${() => turn(false)} />`}
    </div>
    <p class="op-facts">
      <span>${engine.loaded ? `${engine.loaded} in memory` : "nothing in memory"}</span>
      <span>${engine.slots === 1 ? "one request at a time" : `${engine.slots} requests at a time`}</span>
      ${engine.models.length > 1 && html`<span>may hold ${engine.models.join(", ")}</span>`}
    </p>
    ${running.length > 0 && html`<ul class="op-works">${running.map((each) => html`<${Work} key=${each.request_id} each=${each} at=${at} onCancel=${onCancel} />`)}</ul>`}
  </li>`;
}

/** @param {Engine} engine @param {Underway[]} running */
function stateOf(engine, running) {
  if (engine.state === "drained") return { kind: "out", words: "Taken out" };
  if (engine.state === "draining") return { kind: "busy", words: `Taken out as soon as ${running.length === 1 ? "its request is" : "its requests are"} done` };
  if (!running.length) return { kind: "idle", words: "Idle" };
  if (running.every((each) => each.phase === "starting")) return { kind: "busy", words: "Loading" };
  return { kind: "busy", words: running.length === 1 ? "Computing" : `Computing ${counted(running.length, "request")}` };
}

/** @param {{each: Underway, at: number, onCancel: (id: string) => void}} props */
function Work({ each, at, onCancel }) {
  const left = useSecondsLeft(each.progress?.percent ?? null, at);
  const words = each.cancelling ? "Cancelling" : PHASES[each.phase ?? ""] ?? "Working";
  const step = each.phase === "denoising" && each.progress;
  const running = each.started_at ? (at - Date.parse(each.started_at)) / 1000 : 0;
  const waited = each.started_at ? (Date.parse(each.started_at) - Date.parse(each.created_at)) / 1000 : 0;
  return html`<li class="op-work" data-request=${each.request_id}>
    <p class="op-title">${each.endpoint_id}</p>
    <p class="op-facts">
      <span>${words}${step && step.stages > 1 ? `, stage ${step.stage} of ${step.stages}` : ""}</span>
      ${step && html`<span>step ${step.step} of ${step.total}</span>`}
      ${each.progress && html`<span>${plain(each.progress.percent, 0)} %</span>`}
      ${left !== null && html`<span>about ${duration(left)} left</span>`}
    </p>
    <progress class="bar" max="100" value=${each.progress?.percent} aria-label=${`Progress of ${each.request_id.slice(0, 8)}`}></progress>
    <div class="op-work-foot">
      <p class="op-facts">
        <span>key ${each.key}</span><span>for ${duration(running)}</span>${waited >= 1 && html`<span>waited ${duration(waited)}</span>`}
        ${each.attempt > 1 && html`<span>attempt ${each.attempt}</span>`}
      </p>
      <${Button}
        kind="small" icon="close" label="Cancel" aria-label=${`Cancel the running request of ${each.key}, ${each.request_id.slice(0, 8)}`}
        disabled=${each.cancelling} onClick=${() => onCancel(each.request_id)}
      />
    </div>
  </li>`;
}

/** Of the denoising, from how fast it was since it was first seen. @param {number | null} percent @param {number} at milliseconds */
function useSecondsLeft(percent, at) {
  const first = useRef(/** @type {{percent: number, at: number} | null} */ (null));
  if (percent === null || (first.current && percent < first.current.percent)) first.current = null;
  if (percent === null) return null;
  first.current ??= { percent, at };
  const gone = percent - first.current.percent;
  return gone > 0 && percent < 100 ? ((at - first.current.at) / 1000 / gone) * (100 - percent) : null;
}
