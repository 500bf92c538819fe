// Two videos beside each other or one over the other, under one transport.
import { useEffect, useMemo } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button, Segmented } from "../ui/controls.js";
import { createTransport } from "./sync.js";
import { WipeLine } from "./wipe.js";

/**
 * @typedef {import("../server/platform.js").Made} Made
 * @typedef {ReturnType<typeof createTransport>} Transport
 */

const NAMES = ["A", "B"];
const SPEEDS = [0.1, 0.25, 0.5, 1, 2];
const VIEWS = [
  { value: "side", label: "Side by side" },
  { value: "wipe", label: "Wipe" },
];
const SOUNDS = [
  { value: -1, label: "Off" },
  { value: 0, label: "A" },
  { value: 1, label: "B" },
];

/** @param {{items: Made[], urls: string[]}} props two of each */
export function Duel({ items, urls }) {
  const view = useSignal("side");
  const wipe = useSignal(50);
  const transport = useMemo(() => createTransport(items.map(({ num_frames: frames, fps }) => ({ frames, fps }))), urls);
  useEffect(() => transport.close, [transport]);
  const { step, toggle, show, total, loop, heard, speed } = transport;
  const keys = (/** @type {KeyboardEvent} */ event) => {
    const { target, key } = event;
    if (target instanceof HTMLButtonElement && (key === " " || key === "Enter")) return;
    if (target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && (key.startsWith("Arrow") || key === "Home" || key === "End"))) return;
    const act = {
      " ": toggle,
      k: toggle,
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      ",": () => step(-1),
      ".": () => step(1),
      Home: () => show(0),
      End: () => show(total() - 1),
      l: () => (loop.value = !loop.value),
      m: () => (heard.value = heard.value < 0 ? 0 : -1),
      w: () => (view.value = view.value === "side" ? "wipe" : "side"),
    }[key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  };
  return html`<div class="duel" role="group" aria-label="The two videos" onKeyDown=${keys}>
    <div class="duel-head">
      <span class="visually-hidden" id="duel-view">View</span>
      <${Segmented} name="duel-view" labelledby="duel-view" value=${view.value} options=${VIEWS} onChange=${(/** @type {string} */ next) => (view.value = next)} />
      <span class="duel-sound-name" id="duel-sound">Sound</span>
      <${Segmented} name="duel-sound" labelledby="duel-sound" value=${heard.value} options=${SOUNDS} onChange=${(/** @type {number} */ next) => (heard.value = next)} />
      <label class="duel-speed">
        <span>Speed</span>
        <select
          onChange=${(/** @type {any} */ event) => (speed.value = SPEEDS[event.currentTarget.selectedIndex])}
        >${SPEEDS.map((each) => html`<option selected=${each === speed.value}>${each}×</option>`)}</select>
      </label>
    </div>
    <div class="duel-stage ${view.value}" style=${{ "--wipe": `${wipe.value}%`, "--shape": shapeOf(items) }}>
      ${urls.map((url, which) => html`<${Side} key=${NAMES[which]} which=${which} url=${url} item=${items[which]} transport=${transport} />`)}
      ${view.value === "wipe" && html`<${WipeLine} at=${wipe} />`}
    </div>
    <${Bar} transport=${transport} />
  </div>`;
}

/** @param {{which: number, url: string, item: Made, transport: Transport}} props */
function Side({ which, url, item, transport }) {
  const failed = useSignal(false);
  return html`<div class="duel-side ${NAMES[which].toLowerCase()}">
    <video
      src=${url} poster=${item.poster_url ?? undefined} playsinline preload="auto" muted=${transport.heard.value !== which} tabindex="0"
      aria-label=${`Video ${NAMES[which]}`} onLoadedMetadata=${(/** @type {any} */ event) => transport.ready(which, event.currentTarget)}
      onClick=${transport.toggle} onError=${() => (failed.value = true)}
    />
    <span class="badge" aria-hidden="true">${NAMES[which]}</span>
    ${failed.value && html`<p class="duel-failed" role="alert">The browser cannot load video ${NAMES[which]}.</p>`}
  </div>`;
}

/** @param {{transport: Transport}} props */
function Bar({ transport }) {
  const { time, length, playing, loop, fps, total, at, show, step, toggle } = transport;
  const frame = at();
  return html`<div class="track">
      <input
        type="range" min="0" max=${total() - 1} step="1" value=${frame} aria-label="Position"
        style=${{ "--fill": `${(100 * frame) / Math.max(1, total() - 1)}%` }}
        aria-valuetext=${`${time.value.toFixed(2)} seconds, frame ${frame + 1} of ${total()}`}
        onInput=${(/** @type {any} */ event) => show(Number(event.currentTarget.value))}
      />
    </div>
    <div class="transport">
      <${Button} quiet kind="ghost" icon="back" label="One frame back" onClick=${() => step(-1)} />
      <${Button} quiet kind="ghost" icon=${playing.value ? "pause" : "play"} label=${playing.value ? "Pause" : "Play"} disabled=${!length.value} onClick=${toggle} />
      <${Button} quiet kind="ghost" icon="forward" label="One frame on" onClick=${() => step(1)} />
      <span class="clock">
        <span>${time.value.toFixed(2)}</span> / ${length.value.toFixed(2)} s <span class="clock-frame">frame ${frame + 1} at ${+fps.toFixed(3)} fps</span>
      </span>
      <${Button} quiet kind="ghost" icon="loop" label="Loop" pressed=${loop.value} onClick=${() => (loop.value = !loop.value)} />
    </div>`;
}

/** Both stand in frames of one shape, that of the higher one, so that the same place is the same place in both. @param {Made[]} items */
const shapeOf = (items) => Math.min(...items.map(({ width, height }) => (width && height ? width / height : 16 / 9)));
