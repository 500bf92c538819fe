// The input as a form or as JSON.
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button, CopyButton, Panel, Tabs } from "../ui/controls.js";
import { counted } from "../ui/text.js";
import { DropNotes, FromVideo, useVideoDrop } from "./drop.js";
import { FieldRow } from "./field.js";
import { pictureIn } from "./picture.js";
import { MAIN_GROUP, groups } from "./schema.js";
import { upload } from "../server/files.js";

/** @typedef {import("./state.js").Form} Form @typedef {import("./schema.js").Field} Field */

const VIEWS = [
  { id: "form", label: "Form" },
  { id: "json", label: "JSON" },
];

/** @param {{form: Form, onRun: () => void}} props */
export function InputForm({ form, onRun }) {
  const view = useSignal("form");
  const drop = useVideoDrop(form);
  const main = form.fields.filter((field) => field.group === MAIN_GROUP);
  const rest = form.faultsAt(null);
  const run = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      onRun();
    }
  };
  return html`<section
    class="input ${drop.over.value ? "over" : ""}" aria-label="Input" onKeyDown=${run}
    onPaste=${(/** @type {ClipboardEvent} */ event) => pasteInto(form, event)} ...${drop.handlers}
  >
    <div class="input-head">
      <${Tabs} label="View of the input" prefix="view" small tabs=${VIEWS} active=${view.value} onSelect=${(/** @type {string} */ id) => (view.value = id)} />
      <div class="input-tools">
        <${FromVideo} drop=${drop} />
        <${Button} icon="reset" kind="ghost small" label="Reset all" onClick=${form.resetAll} />
      </div>
    </div>
    <${DropNotes} drop=${drop} form=${form} />
    ${form.textFault.value && view.value === "form" && html`<p class="faults" role="alert">The JSON is not finished; the form shows what it said before.</p>`}
    ${rest.length > 0 && html`<div class="faults" role="alert">${rest.map((fault) => html`<p><code>${fault.loc.join(".")}</code> ${fault.msg}</p>`)}</div>`}
    <${Panel} prefix="view" id="form" active=${view.value}>
      ${arranged(main).map((part) =>
        Array.isArray(part)
          ? html`<div class="pair">${part.map((field) => html`<${FieldRow} key=${field.name} field=${field} form=${form} />`)}</div>`
          : html`<${FieldRow} key=${part.name} field=${part} form=${form} />`,
      )}
      <${Advanced} form=${form} />
      <${Others} form=${form} />
    <//>
    <${Panel} prefix="view" id="json" active=${view.value}>
      ${view.value === "json" && html`<${JsonView} form=${form} />`}
    <//>
  </section>`;
}

/** Pictures stand side by side where there are two, behind the prompt; the others keep the order of the document. @param {Field[]} fields */
function arranged(fields) {
  const pictures = fields.filter((field) => field.kind === "picture");
  const prompt = fields.filter((field) => field.name === "prompt");
  const others = fields.filter((field) => !pictures.includes(field) && !prompt.includes(field));
  return [...prompt, pictures.length > 1 ? pictures : pictures[0], ...others].filter(Boolean);
}

/** @param {{form: Form}} props */
function Advanced({ form }) {
  const advanced = form.fields.filter((field) => field.group !== MAIN_GROUP);
  if (!advanced.length) return null;
  const changed = advanced.filter(form.isSet).length;
  const faulty = advanced.some((field) => form.faultsAt(field.name).length);
  return html`<details class="advanced" open=${faulty || undefined}>
    <summary>
      <span>Advanced settings</span>
      <span class="count">${changed ? `${changed} changed` : counted(advanced.length, "field")}</span>
    </summary>
    ${groups.map((group) => {
      const fields = advanced.filter((field) => field.group === group);
      return (
        fields.length > 0 &&
        html`<fieldset key=${group}>
          <legend>${group}</legend>
          ${fields.map((field) => html`<${FieldRow} key=${field.name} field=${field} form=${form} />`)}
        </fieldset>`
      );
    })}
  </details>`;
}

/** What the JSON has and the form has no field for: it is kept and sent. @param {{form: Form}} props */
function Others({ form }) {
  const known = new Set(form.fields.map((field) => field.name));
  const others = Object.keys(form.input.value).filter((name) => !known.has(name));
  if (!others.length) return null;
  return html`<p class="others">
    Only in the JSON: ${others.map((name) => html`<code>${name}</code> `)}
  </p>`;
}

/** @param {{form: Form}} props */
function JsonView({ form }) {
  return html`<div class="json-view">
    <label class="visually-hidden" for="json-text">Input as JSON</label>
    <textarea
      id="json-text" class="code" spellcheck=${false} rows=${Math.min(30, Math.max(12, form.text.value.split("\n").length + 1))}
      value=${form.text.value} aria-invalid=${String(Boolean(form.textFault.value))} aria-describedby="json-note"
      onInput=${(/** @type {any} */ event) => form.setText(event.currentTarget.value)} onBlur=${form.tidyText}
    />
    <p id="json-note" class=${form.textFault.value ? "faults" : "help"} role=${form.textFault.value ? "alert" : undefined}>
      ${form.textFault.value || "What is sent. Fields that are not here have their defaults."}
    </p>
    ${form.faults.value.length > 0 &&
    html`<ul class="faults">${form.faults.value.map((fault) => html`<li><code>${fault.loc.slice(1).join(".")}</code> ${fault.msg}</li>`)}</ul>`}
    <${CopyButton} label="Copy JSON" kind="small" text=${() => form.text.value} />
  </div>`;
}

/** A picture pasted anywhere in the form is the start frame. @param {Form} form @param {ClipboardEvent} event */
async function pasteInto(form, event) {
  const file = pictureIn(event.clipboardData);
  const field = form.fields.find((each) => each.kind === "picture");
  if (!file || !field || event.defaultPrevented) return;
  event.preventDefault();
  form.set(field.name, await upload(file, file.name));
}
