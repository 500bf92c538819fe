// Before a pull: what it brings, whether there is room, and the terms that must be accepted.
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button, Notice } from "../ui/controls.js";
import { announce } from "../ui/announce.js";
import { counted } from "../ui/text.js";
import { attempt } from "./parts.js";
import { beginPull, planOf } from "./server.js";
import { size } from "./size.js";

/** @typedef {import("./server.js").Bundle} Bundle @typedef {import("./server.js").Plan} Plan */

/** @param {{bundle: Bundle, onClose: () => void, onBegun: () => Promise<void>}} props */
export function PullDialog({ bundle, onClose, onBegun }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const plan = useSignal(/** @type {Plan | null} */ (null));
  const accepted = useSignal(false);
  const busy = useSignal(false);
  const fault = useSignal("");
  useEffect(() => {
    dialog.current?.showModal();
    attempt(fault, async () => (plan.value = await planOf(bundle.name)));
  }, []);
  const begin = async () => {
    busy.value = true;
    const begun = await attempt(fault, async () => {
      await beginPull(bundle.name, accepted.value);
      announce(`${bundle.name} is being downloaded`);
      await onBegun();
    });
    busy.value = false;
    if (begun) dialog.current?.close();
  };
  const missing = plan.value ? plan.value.to_fetch_bytes + plan.value.reserve_bytes - plan.value.free_bytes : 0;
  const wanted = Boolean(plan.value?.terms.length);
  return html`<dialog ref=${dialog} class="op-dialog" aria-labelledby="op-pull-title" onClose=${onClose}>
    <h2 id="op-pull-title">${bundle.state === "incomplete" ? "Go on with" : "Pull"} ${bundle.name}</h2>
    ${fault.value && html`<${Notice}>${fault.value}<//>`}
    ${!plan.value && !fault.value && html`<p role="status">Asking the hub what it holds …</p>`}
    ${plan.value && html`<${Planned} plan=${plan.value} missing=${missing} />`}
    ${wanted &&
    html`<label class="op-accept">
      <input type="checkbox" checked=${accepted.value} onChange=${(/** @type {any} */ event) => (accepted.value = event.currentTarget.checked)} />
      <span>I have read and accept ${plan.value?.terms.map((terms) => terms.name).join(" and ")}.</span>
    </label>`}
    <div class="dialog-actions" data-floating>
      ${plan.value &&
      html`<${Button}
        kind="primary" icon="download" label=${busy.value ? "Beginning …" : `Download ${size(plan.value.to_fetch_bytes)}`}
        disabled=${busy.value || missing > 0 || (wanted && !accepted.value)} onClick=${begin}
      />`}
      <${Button} label="Close" onClick=${() => dialog.current?.close()} />
    </div>
  </dialog>`;
}

/** @param {{plan: Plan, missing: number}} props */
const Planned = ({ plan, missing }) =>
  html`<p>From <code>${plan.source}</code>. ${size(plan.free_bytes)} are free${plan.reserve_bytes > 0 && `, of which ${size(plan.reserve_bytes)} stay so`}.</p>
    ${missing > 0 && html`<${Notice}>There is not enough room: ${size(missing)} are missing.<//>`}
    <ul class="op-parts">
      ${plan.parts.map((part) => html`<li key=${part.part}><span>${part.part}</span><span>${part.here ? "here" : `${counted(part.files, "file")}, ${size(part.size_bytes)}`}</span></li>`)}
    </ul>
    ${plan.notes.length > 0 && html`<ul class="op-notes">${plan.notes.map((note) => html`<li key=${note}>${note}</li>`)}</ul>`}
    ${plan.terms.map(
      (terms) => html`<section class="op-terms" key=${terms.name}>
        <h3>${terms.url ? html`<a href=${terms.url} rel="noreferrer" target="_blank">${terms.name}</a>` : terms.name}</h3>
        ${terms.text && html`<pre tabindex="0" role="region" aria-label=${`Text of ${terms.name}`}>${terms.text}</pre>`}
      </section>`,
    )}`;
