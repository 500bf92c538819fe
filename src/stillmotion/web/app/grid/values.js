// Up to four values of one field: checked among a few, or typed.
import { html } from "../ui/html.js";
import { Button } from "../ui/controls.js";
import { label } from "../ui/text.js";
import { same, write } from "../ui/json.js";
import { numeric } from "../form/inputs.js";
import { MOST_VALUES } from "./cells.js";

/** @typedef {import("../form/schema.js").Field} Field */

/** Kinds of fields that a grid can vary, by how their values are given. @type {Record<string, "options" | "number" | "text">} */
const WAYS = { number: "number", choice: "options", size: "options", switch: "options", text: "text", prompt: "text" };

/** Fields of a form that one value can be put into. @param {Field[]} fields */
export const varied = (fields) => fields.filter((field) => field.kind in WAYS && !["seed", "sync_mode"].includes(field.name));

/** @param {Field} field */
const optionsOf = (field) => (field.kind === "switch" ? [false, true] : field.options);

/** What the editor begins with: the form's own value, and for few options another one. @param {Field} field @param {any} value @returns {any[]} */
export function firstValues(field, value) {
  const options = optionsOf(field);
  if (WAYS[field.kind] !== "options") return [value === undefined ? "" : String(value), ""];
  const own = options.includes(value) ? [value] : [];
  return [...own, ...options.filter((option) => option !== value)].slice(0, 2);
}

/** The values themselves, each once; typed ones as what they are. @param {Field} field @param {any[]} entries @returns {any[]} */
export function valuesOf(field, entries) {
  const values = WAYS[field.kind] === "number" ? entries.filter((entry) => entry.trim()).map((entry) => numeric(entry.trim())) : entries;
  // An empty text is a value, but not one that was left empty below others.
  const filled = WAYS[field.kind] === "text" ? values.filter((entry, index) => entry !== "" || index === 0) : values;
  return filled.filter((value, index) => filled.findIndex((other) => same(other, value)) === index);
}

/** A value in few words, as heads of columns have them. @param {any} value */
export function shortly(value) {
  if (value === true) return "On";
  if (value === false) return "Off";
  if (typeof value !== "string") return write(value, 0);
  if (value === "") return "Empty";
  const text = label(value);
  return text.length > 60 ? `${text.slice(0, 58).trimEnd()} …` : text;
}

/** @param {{field: Field, legend: string, entries: any[], onChange: (entries: any[]) => void}} props */
export function Values({ field, legend, entries, onChange }) {
  const way = WAYS[field.kind];
  return html`<fieldset class="values of-${way}">
    <legend>${legend}</legend>
    ${way === "options" ? html`<${Checks} field=${field} entries=${entries} onChange=${onChange} />` : html`<${Typed} field=${field} legend=${legend} entries=${entries} onChange=${onChange} />`}
  </fieldset>`;
}

/** @param {{field: Field, entries: any[], onChange: (entries: any[]) => void}} props */
function Checks({ field, entries, onChange }) {
  const options = optionsOf(field);
  return options.map((option) => {
    const on = entries.includes(option);
    return html`<label class="check" key=${String(option)}>
      <input
        type="checkbox" checked=${on} disabled=${!on && entries.length >= MOST_VALUES}
        onChange=${() => onChange(options.filter((other) => (other === option ? !on : entries.includes(other))))}
      />
      <span>${shortly(option)}</span>
    </label>`;
  });
}

/** @param {{field: Field, legend: string, entries: string[], onChange: (entries: string[]) => void}} props */
function Typed({ field, legend, entries, onChange }) {
  const one = legend.replace(/s$/, "");
  const change = (/** @type {number} */ at, /** @type {string} */ text) => onChange(entries.map((entry, index) => (index === at ? text : entry)));
  const long = WAYS[field.kind] === "text";
  return html`${entries.map((entry, index) => {
      const told = { value: entry, "aria-label": `${one} ${index + 1}`, onInput: (/** @type {any} */ event) => change(index, event.currentTarget.value) };
      return html`<span class="value" key=${index}>
        ${long
          ? html`<textarea rows="2" ...${told}></textarea>`
          : html`<input type="text" inputmode=${field.whole ? "numeric" : "decimal"} autocomplete="off" size="8" ...${told} />`}
        ${entries.length > 1 &&
        html`<${Button} quiet kind="ghost small" icon="close" label=${`Remove ${one} ${index + 1}`} onClick=${() => onChange(entries.filter((_, at) => at !== index))} />`}
      </span>`;
    })}
    ${entries.length < MOST_VALUES && html`<${Button} kind="small" icon="plus" label=${`Add a ${one.toLowerCase()}`} onClick=${() => onChange([...entries, ""])} />`}`;
}
