// What two requests have in common and where they differ, as a table.
import { html } from "../ui/html.js";
import { bytes, counted, duration, label, money, plain } from "../ui/text.js";
import { same, write } from "../ui/json.js";
import { isOurs } from "../form/picture.js";
import { difference } from "../run/prompt_diff.js";

/**
 * @typedef {import("../form/schema.js").Field} Field
 * @typedef {Awaited<ReturnType<typeof import("../server/platform.js").madeOne>>} Whole
 * @typedef {{value: any, note: string}} Cell `note`: where the value comes from, if the request does not name it
 * @typedef {{name: string, cells: Cell[], same: boolean}} Row
 */

/** Words of a text that many are marked where they differ; shorter ones are seen at a glance. */
const MARKED = 4;

/** @param {{items: Whole[], fields: Field[][]}} props two of each; the fields give what an input leaves to its defaults */
export function Differences({ items, fields }) {
  const parts = [
    { title: "Input", code: true, rows: inputRows(items, fields) },
    { title: "Output", code: false, rows: outputRows(items) },
  ];
  const equal = parts.reduce((sum, part) => sum + part.rows.filter((row) => row.same).length, 0);
  return html`<section class="differences" aria-labelledby="differences-title">
    <h2 id="differences-title">Where they differ</h2>
    <${Table} label="Differences" parts=${parts} wanted=${false} />
    <details class="equal">
      <summary><span>What is equal</span><span class="count">${counted(equal, "value")}</span></summary>
      <${Table} label="What is equal" parts=${parts} wanted=${true} />
    </details>
  </section>`;
}

/** @param {{label: string, parts: {title: string, code: boolean, rows: Row[]}[], wanted: boolean}} props `wanted`: equal rows, or the others */
function Table({ label: name, parts, wanted }) {
  return html`<table class="differing">
    <caption class="visually-hidden">${name}</caption>
    <thead><tr><td></td><th scope="col">A</th><th scope="col">B</th></tr></thead>
    ${parts.map((part) => {
      const rows = part.rows.filter((row) => row.same === wanted);
      return html`<tbody key=${part.title}>
        <tr class="part"><th colspan="3" scope="rowgroup">${part.title}${!rows.length && html` <span class="count">nothing</span>`}</th></tr>
        ${rows.map(
          (row) => html`<tr key=${row.name} data-name=${row.name}>
            <th scope="row">${part.code ? html`<code>${broken(row.name)}</code>` : row.name}</th>
            ${row.cells.map((cell, which) => html`<td key=${which}>${shown(row, which)}${cell.note && html` <span class="count">${cell.note}</span>`}</td>`)}
          </tr>`,
        )}
      </tbody>`;
    })}
  </table>`;
}

/** A name that may be broken behind its underscores, where a phone has no room for it. @param {string} name */
const broken = (name) => name.split("_").map((word, at) => (at ? html`_<wbr />${word}` : word));

/** @param {Row} row @param {number} which */
function shown(row, which) {
  const [a, b] = row.cells.map((cell) => cell.value);
  const value = which ? b : a;
  if (value === undefined || value === null) return html`<span class="count">none</span>`;
  if (value.width && value.height) return `${value.width} × ${value.height}`;
  if (typeof value !== "string") return write(value);
  if (value.startsWith("data:")) return `inside the request, ${bytes(value.length)}`;
  if (/image_url$/.test(row.name)) return html`${isOurs(value) && html`<img class="differing-picture" src=${value} alt="" loading="lazy" />`}<span class="differing-url">${value}</span>`;
  if (row.same || typeof a !== "string" || typeof b !== "string" || !a.trim().includes(" ") || a.split(/\s+/).length < MARKED) return value || html`<span class="count">empty</span>`;
  // Each side shows its own words, those that the other one lacks marked.
  return difference(a, b).map((piece) => {
    if (piece.kind === "same") return `${piece.words} `;
    if ((piece.kind === "added") !== Boolean(which)) return null;
    return html`<mark>${piece.words}</mark> `;
  });
}

/** @param {Whole[]} items @param {Field[][]} fields @returns {Row[]} */
function inputRows(items, fields) {
  const inputs = items.map((item) => /** @type {Record<string, any>} */ (item.input ?? {}));
  const names = new Set([...fields.flat().map((field) => field.name), ...inputs.flatMap(Object.keys)]);
  const rows = [...names].map((name) =>
    rowOf(
      name,
      items.map((item, which) => {
        if (name in inputs[which] && !(name === "seed" && inputs[which].seed === null)) return { value: inputs[which][name], note: "" };
        if (name === "seed") return { value: item.seed, note: item.seed === null ? "" : "by chance" };
        const field = fields[which].find((each) => each.name === name);
        if (!field) return { value: undefined, note: "no such field" };
        return { value: field.default, note: field.default === undefined || field.default === null ? "" : "default" };
      }),
    ),
  );
  return [rowOf("endpoint", items.map((item) => ({ value: item.endpoint_id, note: "" }))), ...rows];
}

/** @param {Whole[]} items @returns {Row[]} */
function outputRows(items) {
  /** @type {[string, (item: Whole) => any][]} */
  const facts = [
    ["Size", (item) => item.width && `${item.width} × ${item.height}`],
    ["Frames", (item) => item.num_frames],
    ["Rate", (item) => item.fps && `${plain(item.fps, 3)} fps`],
    ["Length", (item) => item.duration && `${plain(item.duration)} s`],
    ["Type", (item) => item.content_type],
    // What was written by the user stands in the input already.
    ["Final prompt", (item) => (items.some((each) => each.output?.prompt !== each.input?.prompt) ? item.output?.prompt : null)],
    ["Model", (item) => item.model],
    ["Cost on fal", (item) => (item.cost ? money(item.cost) : "not priced")],
    ["GPU time", (item) => (item.gpu_seconds === null ? null : duration(item.gpu_seconds))],
    ["File", (item) => item.output?.video?.file_size && bytes(item.output.video.file_size)],
  ];
  return facts
    .map(([name, fact]) => rowOf(name, items.map((item) => ({ value: fact(item) ?? null, note: "" }))))
    .filter((row) => !(row.same && row.cells[0].value === null));
}

/** @param {string} name @param {Cell[]} cells @returns {Row} */
const rowOf = (name, cells) => ({ name, cells, same: same(cells[0].value ?? null, cells[1].value ?? null) });

/** One line about a result. @param {Whole} item */
export const factsIn = (item) =>
  [
    item.width && `${item.width} × ${item.height}`,
    item.num_frames && counted(item.num_frames, "frame"),
    item.fps && `${plain(item.fps, 3)} fps`,
    item.seed !== null && `seed ${item.seed}`,
    item.model && label(item.model),
  ].filter(Boolean);
