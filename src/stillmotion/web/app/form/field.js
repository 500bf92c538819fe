// One field: its name, its control, its help, and what the API said about it.
import { html } from "../ui/html.js";
import { Button } from "../ui/controls.js";
import { write } from "../ui/json.js";
import { label, plain } from "../ui/text.js";
import { Choice, JsonValue, Number, Prompt, Text, Toggle } from "./inputs.js";
import { Picture } from "./picture.js";
import { SizeChoice } from "./size.js";
import { List } from "./list.js";

/**
 * @typedef {import("./schema.js").Field} Field
 * @typedef {import("./state.js").Form} Form
 * @typedef {{field: Field, value: any, id: string, describedby: string, invalid: boolean, form: Form,
 *   change: (value: any) => void}} ControlProps
 */

/** @type {Record<string, any>} */
const CONTROLS = {
  picture: Picture,
  prompt: Prompt,
  text: Text,
  choice: Choice,
  size: SizeChoice,
  switch: Toggle,
  number: Number,
  list: List,
  json: JsonValue,
};

/** The control for a value: that of the field's kind, unless JSON was given that it could not show. @param {Field} field @param {any} value */
function controlFor(field, value) {
  if (value === undefined) return CONTROLS[field.kind];
  const type = Array.isArray(value) ? "array" : typeof value;
  const fits = {
    picture: type === "string",
    prompt: type === "string",
    text: type === "string",
    choice: field.options.includes(value),
    size: field.options.includes(value) || (type === "object" && value !== null),
    switch: type === "boolean",
    number: type === "number" || type === "bigint" || type === "string",
    list: type === "array" && value.every((/** @type {any} */ item) => item && typeof item === "object"),
    json: true,
  }[field.kind];
  return fits ? CONTROLS[field.kind] : JsonValue;
}

/** @param {{field: Field, form: Form}} props */
export function FieldRow({ field, form }) {
  const id = `field-${field.name}`;
  const value = form.shown(field);
  const faults = form.faultsAt(field.name);
  const Control = controlFor(field, value);
  const change = (/** @type {any} */ next) => form.set(field.name, next);
  const control = html`<${Control}
    field=${field} value=${value} id=${id} form=${form} change=${change} invalid=${faults.length > 0}
    describedby=${faults.length ? `${id}-fault ${id}-help` : `${id}-help`}
  />`;
  const changed = form.isSet(field) && !field.required;
  return html`<div class="field of-${field.kind} ${faults.length ? "invalid" : ""}" data-field=${field.name}>
    <div class="field-head">
      <${field.kind === "switch" || (field.kind === "number" && Control === Number) || field.kind === "prompt" || field.kind === "text" ? "label" : "span"}
        id=${`${id}-label`} for=${id} class="field-name"
      >${field.title}${field.required && html`<span class="required" title="required" aria-hidden="true">*</span>`}<//>
      ${changed &&
      html`<${Button}
        icon="reset" quiet label=${`Reset ${field.title} to ${told(field)}`} kind="ghost small"
        onClick=${() => form.reset(field.name)}
      />`}
    </div>
    ${control}
    <p class="help" id=${`${id}-help`}>${field.description}${range(field)}</p>
    ${faults.length > 0 &&
    html`<div class="faults" id=${`${id}-fault`} role="alert">
      ${faults.map((fault) => html`<p>${place(fault.loc.slice(2))}${fault.msg}</p>`)}
    </div>`}
  </div>`;
}

/** @param {(string | number)[]} path */
const place = (path) => (path.length ? html`<code>${path.join(".")}</code> ` : "");

/** @param {Field} field */
function told(field) {
  if (field.default === undefined) return "nothing";
  return field.kind === "prompt" ? "its default" : typeof field.default === "string" ? label(field.default) : write(field.default, 0);
}

/** @param {Field} field */
function range(field) {
  if (field.low === undefined || field.high === undefined) return "";
  return html` <span class="range">${plain(field.low)} to ${plain(field.high)}${field.unit && ` ${field.unit}`}.</span>`;
}
