// Controls that every part of the page uses.
import { useRef, useState, useEffect } from "preact/hooks";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { copy } from "./clipboard.js";
import { announce } from "./announce.js";

/** @typedef {import("./icons.js").IconName} IconName */

/**
 * A button with an icon; `quiet` ones say their name to a screen reader and in a tooltip only.
 * @param {{icon?: IconName, label: string, quiet?: boolean, kind?: string, pressed?: boolean, disabled?: boolean,
 *   onClick: (event: Event) => void, [other: string]: unknown}} props
 */
export function Button({ icon, label, quiet, kind = "plain", pressed, ...others }) {
  return html`<button
    type="button"
    class="button ${kind} ${quiet ? "quiet" : ""}"
    aria-label=${quiet ? label : undefined}
    title=${quiet ? label : undefined}
    aria-pressed=${pressed === undefined ? undefined : String(pressed)}
    ...${others}
  >
    ${icon && html`<${Icon} name=${icon} />`}${!quiet && html`<span>${label}</span>`}
  </button>`;
}

const SHOWN_MS = 1600;

/**
 * Copies what `text` gives, and says so.
 * @param {{text: () => string, label: string, quiet?: boolean, kind?: string, icon?: IconName}} props
 */
export function CopyButton({ text, label, quiet, kind, icon = "copy" }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => setDone(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [done]);
  const act = async () => {
    await copy(text());
    announce("Copied");
    setDone(true);
  };
  return html`<${Button}
    icon=${done ? "check" : icon} label=${done && !quiet ? "Copied" : label} quiet=${quiet} kind=${kind} onClick=${act}
  />`;
}

/**
 * One of a few values, all of them visible: radio buttons that look like one control.
 * @template T
 * @param {{name: string, labelledby: string, value: T, options: {value: T, label: string}[],
 *   onChange: (value: T) => void, describedby?: string}} props
 */
export function Segmented({ name, labelledby, value, options, onChange, describedby }) {
  return html`<div class="segmented" role="radiogroup" aria-labelledby=${labelledby} aria-describedby=${describedby}>
    ${options.map(
      (option) => html`<label class="segment" key=${option.label}>
        <input
          type="radio" name=${name} checked=${option.value === value}
          onChange=${() => onChange(option.value)}
        />
        <span>${option.label}</span>
      </label>`,
    )}
  </div>`;
}

/** @param {{id: string, checked: boolean, onChange: (on: boolean) => void, describedby?: string}} props */
export function Switch({ id, checked, onChange, describedby }) {
  return html`<input
    type="checkbox" role="switch" class="switch" id=${id} checked=${checked} aria-describedby=${describedby}
    onChange=${(/** @type {any} */ event) => onChange(event.currentTarget.checked)}
  />`;
}

/**
 * Tabs after the pattern of the ARIA guide: arrows move, the panel is labelled by its tab.
 * @param {{label: string, tabs: {id: string, label: string, mark?: string}[], active: string,
 *   onSelect: (id: string) => void, prefix: string, small?: boolean}} props
 */
export function Tabs({ label, tabs, active, onSelect, prefix, small }) {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const move = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = tabs.findIndex((tab) => tab.id === active);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    onSelect(next.id);
    /** @type {HTMLElement | null | undefined} */ (list.current?.querySelector(`#${prefix}-tab-${next.id}`))?.focus();
  };
  return html`<div class="tabs ${small ? "small" : ""}" role="tablist" aria-label=${label} ref=${list} onKeyDown=${move}>
    ${tabs.map(
      (tab) => html`<button
        type="button" role="tab" key=${tab.id} id=${`${prefix}-tab-${tab.id}`}
        aria-selected=${String(tab.id === active)} aria-controls=${`${prefix}-panel-${tab.id}`}
        tabindex=${tab.id === active ? 0 : -1} onClick=${() => onSelect(tab.id)}
      >
        ${tab.label}${tab.mark && html`<span class="mark">${tab.mark}</span>`}
      </button>`,
    )}
  </div>`;
}

/** @param {{prefix: string, id: string, active: string, children?: unknown}} props */
export function Panel({ prefix, id, active, children }) {
  return html`<div
    role="tabpanel" id=${`${prefix}-panel-${id}`} aria-labelledby=${`${prefix}-tab-${id}`} hidden=${id !== active}
  >
    ${children}
  </div>`;
}

/** What went wrong, in words. @param {{children?: unknown, action?: unknown}} props */
export const Notice = ({ children, action }) =>
  html`<div class="notice" role="alert"><p>${children}</p>${action}</div>`;
