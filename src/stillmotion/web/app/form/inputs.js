// Plain controls of the form. Each shows a value and calls `change` with another; none has a state that the input lacks,
// but for text that is no value yet.
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "../ui/html.js";
import { Segmented, Switch } from "../ui/controls.js";
import { parse, write } from "../ui/json.js";
import { label } from "../ui/text.js";

/** @typedef {import("./field.js").ControlProps} Props */

const FEW = 4;
/** Characters that a row of segments has room for on a phone. */
const SHORT = 34;

/** Grows with its text. @param {Props} props */
export function Prompt({ field, value, id, describedby, invalid, change }) {
  const area = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const text = value ?? "";
  useEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight + 2, 360)}px`;
  }, [text]);
  return html`<textarea
    ref=${area} id=${id} rows=${field.name === "prompt" ? 4 : 3} value=${text} placeholder=${field.placeholder}
    aria-describedby=${describedby} aria-invalid=${String(invalid)} aria-required=${String(field.required)}
    onInput=${(/** @type {any} */ event) => change(event.currentTarget.value)}
  />`;
}

/** @param {Props} props */
export function Text({ field, value, id, describedby, invalid, change }) {
  return html`<input
    type="text" id=${id} value=${value ?? ""} aria-describedby=${describedby} aria-invalid=${String(invalid)}
    aria-required=${String(field.required)} spellcheck=${false} autocomplete="off"
    onInput=${(/** @type {any} */ event) => change(event.currentTarget.value)}
  />`;
}

/** @param {Props} props */
export function Toggle({ value, id, describedby, change }) {
  return html`<${Switch} id=${id} checked=${value ?? false} onChange=${change} describedby=${describedby} />`;
}

/** @param {Props} props */
export function Choice({ field, value, id, describedby, change }) {
  const options = field.options.map((option) => ({
    value: option,
    label: field.unit ? `${option} ${field.unit}` : shortened(option),
  }));
  const long = options.reduce((sum, option) => sum + option.label.length + 2, 0);
  if (options.length <= FEW && long <= SHORT) {
    return html`<${Segmented}
      name=${id} labelledby=${`${id}-label`} describedby=${describedby} value=${value} options=${options} onChange=${change}
    />`;
  }
  return html`<select
    id=${id} aria-labelledby=${`${id}-label`} aria-describedby=${describedby}
    onChange=${(/** @type {any} */ event) => change(field.options[event.currentTarget.selectedIndex])}
  >
    ${options.map((option) => html`<option selected=${option.value === value}>${option.label}</option>`)}
  </select>`;
}

/** `X264 (.mp4)` as it is, `dolly_in` in words. @param {unknown} option */
const shortened = (option) => label(option);

/** What was typed as a value: a number where it is one, else the text, of which the API says what is wrong. @param {string} text */
export function numeric(text) {
  const trimmed = text.trim();
  if (!/^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed)) return text;
  return /^-?(0|[1-9]\d*)$/.test(trimmed) ? parse(trimmed) : globalThis.Number(trimmed);
}

/** A number as it is typed, and a slider where the document has a range. @param {Props} props */
export function Number({ field, value, id, describedby, invalid, change }) {
  const [typed, setTyped] = useState(/** @type {string | null} */ (null));
  const shown = typed ?? (value === undefined ? "" : String(value));
  const ranged = field.low !== undefined && field.high !== undefined;
  // "1." is the number 1, but must not become "1" under the fingers.
  const type = (/** @type {string} */ text) => {
    setTyped(text);
    change(text.trim() === "" ? undefined : numeric(text));
  };
  return html`<div class="number">
    ${ranged &&
    html`<input
      type="range" min=${field.low} max=${field.high} step=${field.step} value=${globalThis.Number(value)}
      aria-label=${`${field.title}, slider`} style=${fill(globalThis.Number(value), field)}
      onInput=${(/** @type {any} */ event) => {
        setTyped(null);
        change(globalThis.Number(event.currentTarget.value));
      }}
    />`}
    <span class="number-box">
      <input
        type="text" inputmode=${field.whole ? "numeric" : "decimal"} id=${id} value=${shown} size=${ranged ? 5 : 12}
        placeholder=${field.name === "seed" ? "Random" : ""} autocomplete="off"
        aria-describedby=${describedby} aria-invalid=${String(invalid)}
        onInput=${(/** @type {any} */ event) => type(event.currentTarget.value)}
        onBlur=${() => setTyped(null)}
      />
      ${field.unit && html`<span class="unit">${field.unit}</span>`}
    </span>
  </div>`;
}

/** How much of a slider lies behind its thumb. @param {number} value @param {import("./schema.js").Field} field */
function fill(value, field) {
  const [low, high] = [field.low ?? 0, field.high ?? 1];
  return { "--fill": `${Math.min(100, Math.max(0, (100 * (value - low)) / (high - low)))}%` };
}

/** Any value, as JSON: for what no other control can show. @param {Props} props */
export function JsonValue({ value, id, describedby, change }) {
  const [typed, setTyped] = useState(/** @type {string | null} */ (null));
  const type = (/** @type {string} */ text) => {
    setTyped(text);
    try {
      change(parse(text));
    } catch {
      // Not a value yet.
    }
  };
  return html`<textarea
    class="code" id=${id} rows="2" value=${typed ?? write(value)} aria-labelledby=${`${id}-label`}
    aria-describedby=${describedby} spellcheck=${false} onBlur=${() => setTyped(null)}
    onInput=${(/** @type {any} */ event) => type(event.currentTarget.value)}
  />`;
}
