// The models folder: what is here, what could be, pulls as they go on, and the room that is left.
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button, Notice } from "../ui/controls.js";
import { announce } from "../ui/announce.js";
import { DiskUse } from "./disk.js";
import { Confirmed, Item, None, Part, Standing, attempt } from "./parts.js";
import { usePolled } from "./polling.js";
import { PullDialog } from "./pull_dialog.js";
import { PullProgress } from "./pull_progress.js";
import { bundles, disks, removeBundle, stopPull } from "./server.js";
import { size } from "./size.js";

/** @typedef {import("./server.js").Bundle} Bundle */

const LOOK_MS = 15_000;
const PULLING_MS = 1000;

const STATES = {
  complete: { words: "complete", kind: "checkpoint" },
  incomplete: { words: "incomplete", kind: "away" },
  absent: { words: "not here", kind: "" },
};

export function Models() {
  const { found, failed, refresh } = usePolled(
    bundles,
    (newest) => (newest?.bundles.some((each) => each.pull?.state === "running") ? PULLING_MS : LOOK_MS),
  );
  const room = usePolled(disks, () => 4 * LOOK_MS);
  const fault = useSignal("");
  const chosen = useSignal(/** @type {Bundle | null} */ (null));
  const changed = async () => {
    await Promise.all([refresh(), room.refresh()]);
  };
  const stop = (/** @type {Bundle} */ { name }) =>
    attempt(fault, async () => {
      await stopPull(name);
      announce(`The pull of ${name} is stopped`);
      await changed();
    });
  const remove = (/** @type {Bundle} */ { name }) =>
    attempt(fault, async () => {
      await removeBundle(name);
      announce(`${name} is removed`);
      await changed();
    });
  const acts = { stop, remove, pull: (/** @type {Bundle} */ each) => (chosen.value = each) };
  const all = found.value?.bundles ?? [];
  const here = all.filter((each) => each.state !== "absent" || each.pull?.state === "running");
  const absent = all.filter((each) => !here.includes(each));
  return html`<${Standing} failed=${fault.value || failed.value} loading=${!found.value} />
    ${found.value &&
    html`<${Part} id="op-here" title="On this machine" count=${here.length}>
        <p class="op-note">In <code>${found.value.folder}</code></p>
        ${here.length
          ? html`<ul class="op-list">${here.map((each) => html`<${Line} key=${each.name} each=${each} acts=${acts} />`)}</ul>`
          : html`<${None}>No model is here yet. Pull one below.<//>`}
      <//>
      ${absent.length > 0 &&
      html`<${Part} id="op-known" title="To download" count=${absent.length}>
        <ul class="op-list">${absent.map((each) => html`<${Line} key=${each.name} each=${each} acts=${acts} />`)}</ul>
      <//>`}`}
    ${room.failed.value && html`<${Notice}>${room.failed.value}<//>`}
    ${room.found.value && html`<${DiskUse} disks=${room.found.value} />`}
    ${chosen.value &&
    html`<${PullDialog} key=${chosen.value.name} bundle=${chosen.value} onClose=${() => (chosen.value = null)} onBegun=${changed} />`}`;
}

/**
 * @param {{each: Bundle, acts: {stop: (bundle: Bundle) => void, remove: (bundle: Bundle) => Promise<unknown>,
 *   pull: (bundle: Bundle) => void}}} props
 */
function Line({ each, acts }) {
  const state = STATES[each.state];
  const pulling = each.pull?.state === "running";
  const known = each.state === "absent" || each.pull || each.missing_bytes > 0;
  return html`<${Item}
    title=${each.name} data-bundle=${each.name} data-state=${each.state}
    tag=${html`<span class="tag ${state.kind}">${pulling ? "downloading" : state.words}</span>${each.kind === "classifier" && html`<span class="tag">safety checker</span>`}`}
    facts=${[
      each.state === "absent" ? `about ${size(each.size_bytes)}` : size(each.size_bytes),
      each.state === "incomplete" && each.missing_bytes > 0 && `${size(each.missing_bytes)} missing`,
      each.licence && (each.licence_url ? html`<a href=${each.licence_url} rel="noreferrer">${each.licence}</a>` : each.licence),
      each.accepted && `accepted ${each.accepted}`,
      each.used_by.length > 0 && `used by ${each.used_by.join(", ")}`,
    ]}
    actions=${pulling
      ? html`<${Button} kind="small" icon="close" label="Stop" aria-label=${`Stop the pull of ${each.name}`} onClick=${() => acts.stop(each)} />`
      : html`${each.state !== "complete" && known &&
          html`<${Button}
            kind="small" icon="download" label=${each.state === "incomplete" ? "Go on" : "Pull"}
            aria-label=${`${each.state === "incomplete" ? "Go on with" : "Pull"} ${each.name}`} onClick=${() => acts.pull(each)}
          />`}
          ${each.state !== "absent" && !each.used_by.length && html`<${Confirmed} label="Remove" icon="trash" sure="Remove from the disk" of=${each.name} onSure=${() => acts.remove(each)} />`}`}
  >
    ${each.pull && (pulling || each.pull.state !== "done" || each.pull.note) && html`<${PullProgress} pull=${each.pull} />`}
  <//>`;
}
