// The line between two pictures that lie over each other: dragged, or moved by keys.
import { useRef } from "preact/hooks";
import { html } from "../ui/html.js";

/** @type {Record<string, number>} */
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -100, End: 100 };
const BIG = 10;

/** @param {number} percent */
const within = (percent) => Math.min(100, Math.max(0, percent));

/** `at`: percent of the width that the left picture has. @param {{at: import("@preact/signals").Signal<number>}} props */
export function WipeLine({ at }) {
  const pad = useRef(/** @type {HTMLElement | null} */ (null));
  const move = (/** @type {PointerEvent} */ event) => {
    const box = pad.current?.getBoundingClientRect();
    if (box) at.value = Math.round(within((100 * (event.clientX - box.left)) / box.width) * 10) / 10;
  };
  const keys = (/** @type {KeyboardEvent} */ event) => {
    const step = STEPS[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    // The arrows of the player step by frames.
    event.stopPropagation();
    at.value = within(Math.round(at.value) + step * (event.shiftKey ? BIG : 1));
  };
  const shown = Math.round(at.value);
  return html`<div
    class="wipe-pad" ref=${pad}
    onPointerDown=${(/** @type {any} */ event) => {
      event.currentTarget.setPointerCapture(event.pointerId);
      move(event);
    }}
    onPointerMove=${(/** @type {any} */ event) => event.currentTarget.hasPointerCapture(event.pointerId) && move(event)}
  >
    <div
      class="wipe-line" role="slider" tabindex="0" aria-label="Wipe" aria-orientation="horizontal" aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${shown} aria-valuetext=${`A on the left ${shown} %, B on the rest`} onKeyDown=${keys}
    >
      <span class="wipe-knob" aria-hidden="true"></span>
    </div>
  </div>`;
}
