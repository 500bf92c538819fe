// Two results side by side: the page at /compare?a=REQUEST&b=REQUEST.
import { useEffect } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Notice } from "../ui/controls.js";
import { Icon } from "../ui/icons.js";
import { readSchema } from "../form/schema.js";
import { madeOne, openapi, playable } from "../server/platform.js";
import { Refused } from "../server/http.js";
import { key } from "../shell/session.js";
import { Choose, address } from "./choose.js";
import { Differences, factsIn } from "./differences.js";
import { Duel } from "./duel.js";

/**
 * @typedef {import("../form/schema.js").Field} Field
 * @typedef {import("./differences.js").Whole} Whole
 * @typedef {{items: Whole[], urls: string[], fields: Field[][]}} Pair
 */

export function ComparePage() {
  const query = new URLSearchParams(location.search);
  const [a, b] = ["a", "b"].map((side) => query.get(side) || undefined);
  const pair = useSignal(/** @type {Pair | null} */ (null));
  const failed = useSignal("");
  useEffect(() => {
    document.title = "Compare · Stillmotion";
    if (!a || !b) return;
    failed.value = "";
    both(a, b).then(
      (found) => (pair.value = found),
      (error) => (failed.value = error.message),
    );
  }, [a, b, key.value]);
  return html`<main id="main" class="compare" tabindex="-1">
    <header class="compare-head">
      <h1>Compare</h1>
      ${a && b && html`<a class="button small" href=${address(b, a)}>Swap A and B</a>`}
    </header>
    ${failed.value && html`<${Notice} action=${html`<a class="button small" href="/compare">Choose two others</a>`}>${failed.value}<//>`}
    ${!a || !b
      ? html`<${Choose} a=${a} b=${b} />`
      : pair.value
        ? html`<${Compared} pair=${pair.value} />`
        : !failed.value && html`<div class="loading-page" role="status">Loading …</div>`}
  </main>`;
}

/** @param {{pair: Pair}} props */
function Compared({ pair }) {
  const { items, urls, fields } = pair;
  const [a, b] = items.map((item) => item.request_id);
  return html`<${Duel} items=${items} urls=${urls} />
    <div class="captions">
      ${items.map(
        (item, which) => html`<section class="caption" key=${which} aria-label=${`Result ${"AB"[which]}`}>
          <p class="caption-prompt"><span class="badge">${"AB"[which]}</span> ${item.prompt || "Without a prompt"}</p>
          <p class="made-facts">${factsIn(item).map((fact) => html`<span>${fact}</span>`)}</p>
          <p class="caption-links">
            <a href=${`/models/${item.endpoint_id}?request=${item.request_id}`}>Open ${"AB"[which]}</a>
            <a href=${which ? address(a, undefined) : address(undefined, b)}>Another ${"AB"[which]}</a>
          </p>
        </section>`,
      )}
    </div>
    <${Differences} items=${items} fields=${fields} />`;
}

/** What the page shows of two requests; raises with words where one of them cannot be shown. @param {string} a @param {string} b
 * @returns {Promise<Pair>} */
async function both(a, b) {
  const [one, other] = await Promise.all([whole(a, "A"), whole(b, "B")]);
  const items = [one, other];
  const urls = await Promise.all(items.map((item) => item.playable_url ?? playable(item.request_id)));
  const endpoints = [...new Set(items.map((item) => item.endpoint_id))];
  // Without the documents the table is still true, but for what is left to defaults.
  const known = new Map(await Promise.all(endpoints.map(async (id) => /** @type {[string, Field[]]} */ ([id, await fieldsOf(id)]))));
  return { items, urls, fields: items.map((item) => known.get(item.endpoint_id) ?? []) };
}

/** @param {string} id @param {string} side @returns {Promise<Whole>} */
async function whole(id, side) {
  /** @type {Whole} */
  let item;
  try {
    item = await madeOne(id);
  } catch (error) {
    if (error instanceof Refused && error.status === 404) throw new Error(`${side}: there is no request ${id}, or it was deleted.`);
    throw error;
  }
  if (item.state === "queued" || item.state === "running") throw new Error(`${side} is not finished yet: open this page again when it is.`);
  if (item.state !== "done") throw new Error(`${side} has no video: it ${item.state === "failed" ? "failed" : "was cancelled"}.`);
  if (!item.video_url) throw new Error(`The video of ${side} is not kept.`);
  return item;
}

/** @param {string} endpoint @returns {Promise<Field[]>} */
const fieldsOf = (endpoint) => openapi(endpoint).then((document) => readSchema(document).fields, () => []);

/** A link to the comparison of two results. @param {{a: string, b?: string, label: string, kind?: string}} props */
export const CompareLink = ({ a, b, label, kind = "" }) =>
  html`<a class="button ${kind}" href=${address(a, b)}><${Icon} name="compare" /><span>${label}</span></a>`;
