// Which result stands on a side that is free: one of the newest.
import { useEffect } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Notice } from "../ui/controls.js";
import { ago, plain } from "../ui/text.js";
import { made } from "../server/platform.js";
import { key } from "../shell/session.js";

/** @typedef {import("../server/platform.js").Made} Made */

const NEWEST = "24";

/** The page that compares two requests. @param {string | undefined} a @param {string | undefined} b */
export const address = (a, b) => `/compare?${new URLSearchParams(Object.entries({ a, b }).flatMap(([side, id]) => (id ? [[side, id]] : [])))}`;

/** `a`, `b`: what is chosen already; one of them, or neither, is given. @param {{a?: string, b?: string}} props */
export function Choose({ a, b }) {
  const items = useSignal(/** @type {Made[] | null} */ (null));
  const failed = useSignal("");
  useEffect(() => {
    made({ state: "done", limit: NEWEST }).then(
      (page) => (items.value = page.items.filter((item) => item.video_url && item.request_id !== (a ?? b))),
      (error) => (failed.value = error.message),
    );
  }, [a, b, key.value]);
  const side = a ? "B" : "A";
  return html`<section class="choose" aria-labelledby="choose-title">
    <h2 id="choose-title">${a || b ? "Compare with which other result?" : "Which is the first result?"}</h2>
    ${failed.value && html`<${Notice}>${failed.value}<//>`}
    ${!items.value && !failed.value && html`<p class="history-none" role="status">Loading …</p>`}
    ${items.value?.length === 0 && html`<p class="history-none">${a || b ? "There is no other result yet." : "Nothing yet. Results of every endpoint appear here."}</p>`}
    <ul class="choices">
      ${items.value?.map(
        (item) => html`<li key=${item.request_id} class="choice">
          <div class="made-picture">${item.poster_url ? html`<img src=${item.poster_url} alt="" loading="lazy" />` : html`<span class="made-none">No picture</span>`}</div>
          <a href=${a ? address(a, item.request_id) : address(item.request_id, b)}>
            <span class="visually-hidden">As ${side}: </span><span class="made-prompt">${item.prompt || "Without a prompt"}</span>
          </a>
          <p class="made-facts"><span>${ago(item.created_at)}</span>${item.width && html`<span>${item.width} × ${item.height}</span>`}
            ${item.duration && html`<span>${plain(item.duration, 1)} s</span>`}${item.seed !== null && html`<span>seed ${String(item.seed)}</span>`}</p>
        </li>`,
      )}
    </ul>
  </section>`;
}
