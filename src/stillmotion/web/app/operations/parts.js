// What every section of the operators' page is made of.
import { useLayoutEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button, Notice } from "../ui/controls.js";
import { told } from "./polling.js";

/** @typedef {import("@preact/signals").Signal<string>} Words @typedef {import("../ui/icons.js").IconName} IconName */

/** A part of a section with its heading. @param {{id: string, title: string, count?: number, children?: unknown}} props */
export const Part = ({ id, title, count, children }) =>
  html`<section class="op-part" aria-labelledby=${id}>
    <h2 id=${id}>${title}${count !== undefined && html` <span class="count">${count}</span>`}</h2>
    ${children}
  </section>`;

/** What is shown before the first answer, and what went wrong. @param {{failed: string, loading: boolean}} props */
export const Standing = ({ failed, loading }) =>
  html`${failed && html`<${Notice}>${failed}<//>`}
  ${loading && !failed && html`<p class="op-none" role="status">Loading …</p>`}`;

/** @param {{children?: unknown}} props */
export const None = ({ children }) => html`<p class="op-none">${children}</p>`;

/** A line of a list: what it is, facts about it, and what can be done. Facts that are empty are left out.
 * @param {{title: unknown, facts: unknown[], tag?: unknown, actions?: unknown, children?: unknown, [other: string]: unknown}} props */
export const Item = ({ title, facts, tag, actions, children, ...others }) =>
  html`<li class="op-item" ...${others}>
    <div class="op-words">
      <p class="op-title">${title}${tag}</p>
      <p class="op-facts">${facts.filter(Boolean).map((fact) => html`<span>${fact}</span>`)}</p>
      ${children}
    </div>
    ${actions && html`<div class="op-actions">${actions}</div>`}
  </li>`;

/** @param {{facts: [string, unknown][]}} props */
export const Facts = ({ facts }) =>
  html`<dl class="facts op-sums">
    ${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;

/** Runs what a button asks for; `fault` has what was refused. @param {Words} fault @param {() => Promise<unknown>} what */
export async function attempt(fault, what) {
  fault.value = "";
  try {
    await what();
    return true;
  } catch (error) {
    fault.value = told(error);
    return false;
  }
}

/**
 * A button that asks once more; the focus goes to what takes it back, so that Enter held down decides nothing.
 * @param {{label: string, sure: string, of: string, icon?: IconName, kind?: string, onSure: () => Promise<unknown>}} props
 *   `of` names what it is about to a screen reader
 */
export function Confirmed({ label, sure, of, icon, kind = "ghost small", onSure }) {
  const asked = useSignal(false);
  const busy = useSignal(false);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const moved = useRef(false);
  // Before the next key press can arrive.
  useLayoutEffect(() => {
    if (moved.current) /** @type {HTMLElement | null | undefined} */ (box.current?.querySelector(asked.value ? "button:last-of-type" : "button"))?.focus();
    moved.current = true;
  }, [asked.value]);
  const act = async () => {
    busy.value = true;
    await onSure();
    busy.value = false;
    asked.value = false;
  };
  return html`<span class="op-sure" ref=${box}>
    ${asked.value
      ? html`<${Button} key="sure" kind="danger small" label=${sure} aria-label=${`${sure}: ${of}`} disabled=${busy.value} onClick=${act} />
          <${Button} key="keep" kind="ghost small" label="Keep" aria-label=${`Keep ${of}`} onClick=${() => (asked.value = false)} />`
      : html`<${Button} key="ask" kind=${kind} icon=${icon} label=${label} aria-label=${`${label}: ${of}`} onClick=${() => (asked.value = true)} />`}
  </span>`;
}
