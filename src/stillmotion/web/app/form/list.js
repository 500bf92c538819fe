// A list of objects, such as LoRAs: a row for each, with the fields of its items.
import { html } from "../ui/html.js";
import { Button } from "../ui/controls.js";
import { numeric } from "./inputs.js";

/** @type {Record<string, string>} */
const HINTS = { path: "URL, owner/repository, or local:FILE.safetensors" };

/** @param {import("./field.js").ControlProps} props */
export function List({ field, value, id, change }) {
  const items = value ?? [];
  const one = field.title.replace(/s$/, "");
  const set = (/** @type {number} */ at, /** @type {string} */ name, /** @type {any} */ next) =>
    change(items.map((/** @type {any} */ item, /** @type {number} */ index) => (index === at ? { ...item, [name]: next } : item)));
  return html`<div class="list" role="group" aria-labelledby=${`${id}-label`}>
    ${items.map(
      (/** @type {any} */ item, /** @type {number} */ index) => html`<div class="list-item" key=${index}>
        ${field.item?.map(
          (part) => html`<label class="list-part ${part.kind}">
            <span>${part.title}</span>
            <input
              type="text" value=${item[part.name] ?? ""} autocomplete="off" spellcheck=${false}
              inputmode=${part.kind === "number" ? "decimal" : "text"}
              placeholder=${HINTS[part.name] ?? (part.default === undefined ? "" : String(part.default))}
              onInput=${(/** @type {any} */ event) => {
                const text = event.currentTarget.value;
                set(index, part.name, part.kind === "number" ? (text === "" ? undefined : numeric(text)) : text);
              }}
            />
          </label>`,
        )}
        <${Button}
          icon="trash" quiet kind="ghost" label=${`Remove ${one} ${index + 1}`}
          onClick=${() => change(items.filter((/** @type {any} */ _, /** @type {number} */ at) => at !== index))}
        />
      </div>`,
    )}
    ${!items.length && html`<p class="list-none">None. The model works as it is.</p>`}
    <${Button} icon="plus" kind="small" label=${`Add a ${one}`} onClick=${() => change([...items, { path: "" }])} />
  </div>`;
}
