// A named size, or width and height of one's own.
import { html } from "../ui/html.js";
import { label } from "../ui/text.js";
import { numeric } from "./inputs.js";

const OWN = "custom";
const FIRST = { width: 1280, height: 720 };
/** What fal's names mean, for the list alone: the server says what is delivered. @type {Record<string, string>} */
const SIZES = {
  auto: "as the picture",
  square_hd: "1024 × 1024",
  square: "512 × 512",
  portrait_4_3: "768 × 1024",
  portrait_16_9: "576 × 1024",
  landscape_4_3: "1024 × 768",
  landscape_16_9: "1024 × 576",
};

/** @param {string} name */
const named = (name) => label(name).replace(/ (\d+) (\d+)$/, " $1:$2").replace(/ hd$/, " HD");

/** @param {import("./field.js").ControlProps} props */
export function SizeChoice({ field, value, id, describedby, form, change }) {
  const own = typeof value === "object";
  const select = (/** @type {string} */ name) => {
    const { width, height } = form.figures.value ?? {};
    change(name === OWN ? (width && height ? { width, height } : FIRST) : name);
  };
  const side = (/** @type {"width" | "height"} */ name) =>
    html`<label class="side"
      ><span>${label(name)}</span>
      <input
        type="text" inputmode="numeric" value=${value[name] ?? ""} size="5" autocomplete="off"
        onInput=${(/** @type {any} */ event) => change({ ...value, [name]: numeric(event.currentTarget.value) })}
      />
      <span class="unit">px</span></label
    >`;
  return html`<div class="size">
    <select
      id=${id} aria-labelledby=${`${id}-label`} aria-describedby=${describedby}
      onChange=${(/** @type {any} */ event) => select(event.currentTarget.value)}
    >
      ${field.options.map(
        (option) => html`<option value=${option} selected=${option === value}>
          ${named(option)}${SIZES[option] && ` (${SIZES[option]})`}
        </option>`,
      )}
      <option value=${OWN} selected=${own}>Custom …</option>
    </select>
    ${own && html`<div class="sides" role="group" aria-label=${`${field.title}: width and height`}>${side("width")}${side("height")}</div>`}
  </div>`;
}
