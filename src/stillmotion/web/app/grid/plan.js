// Which grid to run: seeds, one field and its values; what it costs and how long it takes, before anything is sent.
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button } from "../ui/controls.js";
import { counted } from "../ui/text.js";
import { cost, time } from "../form/live.js";
import { estimate } from "../server/platform.js";
import { beginGrid, isOver, shownGrid } from "./cells.js";
import { Values, firstValues, shortly, valuesOf, varied } from "./values.js";

/**
 * @typedef {import("../form/schema.js").Field} Field
 * @typedef {import("../form/state.js").Form} Form
 * @typedef {{total_cost: number | null, expected_seconds: number | null, shape: number | null, fault: string}} Figures
 */

/** What a grid shows most about; else the first field that can be varied. */
const TELLING = ["guidance_scale", "num_inference_steps", "image_strength", "camera_lora", "duration"];
const SETTLED_MS = 180;
/** Below 2^31, so that it is a number to every program. */
const MOST_SEED = 2 ** 31;

/** @type {Field} */
const SEED = {
  name: "seed", title: "Seed", description: "", required: false, kind: "number", whole: true, default: undefined,
  step: 1, options: [], unit: "", group: "", placeholder: "",
};

/** @param {{form: Form, onBegin: () => void}} props */
export function GridButton({ form, onBegin }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  /** How often it was opened: each time it begins anew. */
  const turn = useSignal(0);
  // Once there is what to focus in it. That it was closed is not heard: the word comes late, and a second press before.
  useLayoutEffect(() => {
    if (turn.value && !dialog.current?.open) dialog.current?.showModal();
  }, [turn.value]);
  return html`<${Button}
      icon="grid" label="Grid" kind="grid-button" disabled=${Boolean(form.textFault.value)} title="Several seeds and values at once" aria-haspopup="dialog"
      onClick=${() => (turn.value += 1)}
    />
    <dialog ref=${dialog} class="grid-plan" aria-labelledby="grid-title">
      ${turn.value > 0 &&
      html`<${Plan}
        key=${turn.value} form=${form} onClose=${() => dialog.current?.close()}
        onBegin=${() => {
          dialog.current?.close();
          onBegin();
        }}
      />`}
    </dialog>`;
}

/** @param {{form: Form, onClose: () => void, onBegin: () => void}} props */
function Plan({ form, onClose, onBegin }) {
  const fields = varied(form.fields);
  const name = useSignal((TELLING.map((each) => fields.find((field) => field.name === each)).find(Boolean) ?? fields[0]).name);
  const field = fields.find((each) => each.name === name.value) ?? fields[0];
  const seeds = useSignal(/** @type {any[]} */ (firstSeeds(form)));
  const entries = useSignal(firstValues(field, form.shown(field)));
  const rows = valuesOf(SEED, seeds.value);
  const columns = valuesOf(field, entries.value);
  const count = rows.length * columns.length;
  const figures = useFigures(form, field, rows, columns);
  const fault = faultIn(rows, columns) || figures?.fault;
  const run = () => {
    const { [field.name]: _, seed: __, ...input } = form.input.value;
    beginGrid({ endpoint: form.endpoint, name: field.name, title: field.title, seeds: rows, values: columns, shape: figures?.shape ?? null }, input);
    onBegin();
  };
  const choose = (/** @type {string} */ next) => {
    const found = fields.find((each) => each.name === next) ?? field;
    name.value = found.name;
    entries.value = firstValues(found, form.shown(found));
  };
  return html`<h2 id="grid-title">A grid of seeds and one setting</h2>
    <p>Every combination is a request of its own, with the rest of the form as it is.</p>
    <${Values} field=${SEED} legend="Seeds" entries=${seeds.value} onChange=${(/** @type {any[]} */ next) => (seeds.value = next)} />
    <label class="field-name" for="grid-field">Setting</label>
    <select id="grid-field" onChange=${(/** @type {any} */ event) => choose(event.currentTarget.value)}>
      ${fields.map((each) => html`<option value=${each.name} selected=${each.name === field.name}>${each.title}</option>`)}
    </select>
    <${Values} key=${field.name} field=${field} legend="Values" entries=${entries.value} onChange=${(/** @type {any[]} */ next) => (entries.value = next)} />
    <div class="grid-figures" role="status">
      ${fault
        ? html`<p class="faults">${fault}</p>`
        : html`<p class="live-facts"><span>${counted(count, "request")}</span>
            ${figures ? html`<span>${cost(figures)}</span><span>${time(figures)}${figures.expected_seconds !== null && count > 1 ? ", one after another" : ""}</span>` : html`<span class="live-quiet">Working out cost and time …</span>`}
          </p>`}
      ${shownGrid.value?.cells.some((cell) => !isOver(cell.phase.value)) && html`<p class="help">The grid that is shown gives way to the new one; its requests go on and are in the history.</p>`}
    </div>
    <div class="dialog-actions">
      <${Button} kind="primary grid-run" icon="play" label=${`Run ${counted(count, "request")}`} disabled=${Boolean(fault) || !figures} onClick=${run} />
      <${Button} label="Close" onClick=${onClose} />
    </div>`;
}

/** @param {any[]} rows @param {any[]} columns */
function faultIn(rows, columns) {
  const wrong = rows.find((seed) => typeof seed === "string" || !/^-?\d+$/.test(String(seed)));
  if (wrong !== undefined) return `Seeds are whole numbers, which ${wrong} is not.`;
  if (!rows.length) return "A grid has at least one seed.";
  return columns.length ? "" : "A grid has at least one value.";
}

/** @param {Form} form */
function firstSeeds(form) {
  const own = form.input.value.seed;
  const seed = typeof own === "number" || typeof own === "bigint" ? own : Math.floor(Math.random() * MOST_SEED);
  return [String(seed), String(typeof seed === "bigint" ? seed + 1n : seed + 1)];
}

/** Cost and time of all requests, from the estimates of one row: a seed changes neither. Null while they are asked for.
 * @param {Form} form @param {Field} field @param {any[]} rows @param {any[]} columns */
function useFigures(form, field, rows, columns) {
  const figures = useSignal(/** @type {Figures | null} */ (null));
  const values = useRef(columns);
  values.current = columns;
  const asked = `${field.name} ${rows.length} ${columns.map(shortly).join("\n")} ${columns.length}`;
  useEffect(() => {
    figures.value = null;
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const told = await Promise.all(
          values.current.map((value) => estimate(form.endpoint, { ...form.input.value, [field.name]: value }, form.sizes.value.image_url, stop.signal)),
        );
        const [{ width, height }] = told;
        const faults = told.flatMap((each) => each.detail.filter((fault) => each.num_frames === null || fault.loc[1] === field.name));
        figures.value = {
          total_cost: times(told.map((each) => each.total_cost), rows.length),
          expected_seconds: times(told.map((each) => each.expected_seconds), rows.length),
          shape: width && height ? width / height : null,
          fault: faults.length ? `${faults[0].loc.slice(1).join(".")}: ${faults[0].msg}` : "",
        };
      } catch (error) {
        if (!stop.signal.aborted) figures.value = { total_cost: null, expected_seconds: null, shape: null, fault: /** @type {Error} */ (error).message };
      }
    }, SETTLED_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [asked]);
  return figures.value;
}

/** The sum, `rows` times over; null where one is not known. @param {(number | null)[]} each @param {number} rows */
function times(each, rows) {
  let sum = 0;
  for (const one of each) {
    if (one === null) return null;
    sum += one;
  }
  return rows * sum;
}
