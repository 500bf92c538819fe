// Words for a screen reader about what has just happened elsewhere on the page.
import { signal } from "@preact/signals";
import { html } from "./html.js";

const told = signal("");

/** @param {string} text */
export function announce(text) {
  // The same words twice are read twice only if they differ.
  told.value = told.value === text ? text + "\u00a0" : text;
}

export const Announcer = () => html`<div class="visually-hidden" role="status" aria-live="polite">${told.value}</div>`;
