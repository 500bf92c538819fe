// How full the disks are, and with what.
import { html } from "../ui/html.js";
import { counted } from "../ui/text.js";
import { Part } from "./parts.js";
import { size } from "./size.js";

/** @typedef {import("./server.js").Disk} Disk @typedef {import("./server.js").Disks} Disks */

/** @type {Record<string, string>} */
const KINDS = { videos: "Videos", copies: "Playable copies", posters: "Posters", uploads: "Uploads", loras: "LoRA cache", database: "Database" };

/** @param {{disks: Disks}} props */
export const DiskUse = ({ disks }) =>
  html`<${Part} id="op-disk" title="Disk">
    <div class="op-disks">
      <${Meter} name="Data" disk=${disks.data} reserve=${disks.reserve_bytes} />
      <${Meter} name="Models" disk=${disks.models} reserve=${disks.reserve_bytes} />
    </div>
    <ul class="op-kinds">
      ${disks.kinds.map(({ kind, files, size_bytes: bytes }) => html`<li key=${kind} data-kind=${kind}><span>${KINDS[kind] ?? kind}</span><span>${counted(files, "file")}</span><span>${size(bytes)}</span></li>`)}
    </ul>
  <//>`;

/** @param {{name: string, disk: Disk, reserve: number}} props */
function Meter({ name, disk, reserve }) {
  const short = disk.free_bytes < reserve;
  return html`<div class="op-disk">
    <p class="op-title">${name}</p>
    <p class="op-facts"><span>${size(disk.free_bytes)} free of ${size(disk.total_bytes)}</span><code>${disk.folder}</code></p>
    <meter min="0" max="100" high="85" optimum="0" value=${(100 * (disk.total_bytes - disk.free_bytes)) / disk.total_bytes} aria-label=${`${name}: how full the disk is`}></meter>
    ${short && html`<p class="op-fault">Less than ${size(reserve)} are free: new requests are refused.</p>`}
  </div>`;
}
