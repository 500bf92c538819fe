// A grid while it is worked at, and what came of it: rows are seeds, columns the values of one setting.
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button } from "../ui/controls.js";
import { announce } from "../ui/announce.js";
import { counted } from "../ui/text.js";
import { CompareLink } from "../compare/compare.js";
import { open as openRun } from "../run/runs.js";
import { dismissGrid, inputOf, isOver, restoreGrid, shownGrid, stopGrid } from "./cells.js";
import { shortly } from "./values.js";

/** @typedef {import("./cells.js").Cell} Cell @typedef {import("./cells.js").Grid} Grid */

/** @type {Record<string, string>} */
const WORDS = {
  unsent: "Not sent yet",
  queued: "In the queue",
  running: "Working",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
  gone: "No longer on the server",
};

/** @param {{endpoint: string}} props */
export function GridView({ endpoint }) {
  useEffect(() => restoreGrid(endpoint), [endpoint]);
  const grid = shownGrid.value;
  return grid && html`<${Shown} key=${grid.kept.mark} grid=${grid} />`;
}

/** @param {{grid: Grid}} props */
function Shown({ grid }) {
  const { kept, cells, stopping } = grid;
  const chosen = useSignal(/** @type {string[]} */ ([]));
  const over = cells.filter((cell) => isOver(cell.phase.value)).length;
  const done = cells.filter((cell) => cell.phase.value === "done").length;
  const choose = (/** @type {string} */ id) => {
    const { value } = chosen;
    chosen.value = value.includes(id) ? value.filter((other) => other !== id) : [...value, id].slice(-2);
  };
  return html`<section class="grid-run-view" aria-labelledby="grid-view-title">
    <div class="grid-head">
      <h2 id="grid-view-title">Seed × ${kept.title}</h2>
      <p class="grid-state" role="status">
        ${over < cells.length ? `${over} of ${counted(cells.length, "request")} finished` : done === cells.length ? `All ${cells.length} done` : `${done} of ${cells.length} done`}
      </p>
      <div class="grid-tools">
        ${chosen.value.length === 2 && html`<${CompareLink} a=${chosen.value[0]} b=${chosen.value[1]} label="Compare the two" kind="primary small" />`}
        ${over < cells.length
          ? html`<${Button} icon="close" kind="small" label=${stopping.value ? "Cancelling …" : "Cancel all"} disabled=${stopping.value} onClick=${() => stopGrid(grid)} />`
          : html`<${Button} kind="ghost small" label="Close the grid" onClick=${() => dismissGrid(grid)} />`}
      </div>
    </div>
    <div class="grid-scroll" role="region" aria-label="Grid of results" tabindex="0">
      <table class="grid-table" style=${{ "--shape": kept.shape ?? undefined, "--columns": kept.values.length }}>
        <thead>
          <tr>
            <th scope="col" class="grid-corner">Seed</th>
            ${kept.values.map((value, column) => html`<th scope="col" key=${column}>${shortly(value)}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${kept.seeds.map(
            (seed, row) => html`<tr key=${row}>
              <th scope="row">${String(seed)}</th>
              ${kept.values.map((value, column) => {
                const cell = cells[row * kept.values.length + column];
                const name = `seed ${seed}, ${kept.title} ${shortly(value)}`;
                return html`<td key=${column}><${CellView} grid=${grid} cell=${cell} name=${name} chosen=${chosen.value.includes(cell.id.value ?? "")} onChoose=${choose} /></td>`;
              })}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}

/** @param {{grid: Grid, cell: Cell, name: string, chosen: boolean, onChoose: (id: string) => void}} props */
function CellView({ grid, cell, name, chosen, onChoose }) {
  const phase = cell.phase.value;
  const id = cell.id.value;
  if (phase === "done" && id) {
    return html`<div class="cell done">
      <button type="button" class="cell-open" aria-label=${`Open the result of ${name}`} onClick=${() => show(grid, cell, id)}>
        <${Loop} cell=${cell} />
      </button>
      <${Button} kind="small" icon="compare" label="Compare" aria-label=${`Compare ${name}`} pressed=${chosen} onClick=${() => onChoose(id)} />
    </div>`;
  }
  const position = cell.position.value;
  return html`<div class="cell ${phase}">
    <div class="cell-picture">
      ${cell.preview.value && !isOver(phase) && html`<img src=${cell.preview.value} alt="" />`}
      <p class="cell-words">${WORDS[phase]}${phase === "queued" && position ? html`<br />${position} ahead` : ""}</p>
    </div>
    ${phase === "running" && html`<progress class="bar" max="100" value=${cell.percent.value ?? undefined} aria-label=${`Progress of ${name}`}></progress>`}
    ${phase === "failed" && cell.fault.value && html`<p class="cell-fault">${cell.fault.value}</p>`}
  </div>`;
}

/** @param {Grid} grid @param {Cell} cell @param {string} id */
function show(grid, cell, id) {
  openRun({ id, endpoint: grid.kept.endpoint, at: Date.now(), input: grid.kept.input && inputOf(grid, cell) });
  announce("The result is shown below the grid");
  document.querySelector(".run")?.scrollIntoView({ block: "nearest" });
}

/** A result that plays by itself, without sound; its first picture where motion is not wanted. @param {{cell: Cell}} props */
function Loop({ cell }) {
  const video = useRef(/** @type {HTMLVideoElement | null} */ (null));
  useEffect(() => {
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) video.current?.play().catch(() => {});
  }, [cell.url.value]);
  if (!cell.url.value) return html`<span class="cell-words">No preview</span>`;
  return html`<video ref=${video} src=${cell.url.value} poster=${cell.poster.value ?? undefined} muted loop playsinline preload="auto" tabindex="-1" aria-hidden="true" />`;
}
