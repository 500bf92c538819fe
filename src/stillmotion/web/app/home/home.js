// The first page: what can be made here, with which model, and how it looks.
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Notice } from "../ui/controls.js";
import { label, money } from "../ui/text.js";
import { models, prices, serving } from "../server/platform.js";

/**
 * @typedef {import("../server/platform.js").Model} Model
 * @typedef {import("../server/platform.js").Price} Price
 * @typedef {import("../server/platform.js").Served} Served
 * @typedef {{model: Model, price: Price | undefined, served: Served | undefined}} Card
 */

const KINDS = { checkpoint: "Real checkpoint", demonstration: "Demo model", mock: "Mock engine" };

/** @param {{samples?: boolean}} [wanted] samples: has those made that are missing @returns {Promise<Card[]>} */
export async function cards({ samples = false } = {}) {
  const [found, priced, now] = await Promise.all([
    models(),
    prices(),
    serving(samples).catch(() => ({ models: /** @type {Served[]} */ ([]) })),
  ]);
  return found.map((model) => ({
    model,
    price: priced.find((each) => each.endpoint_id === model.endpoint_id),
    served: now.models.find((each) => each.endpoint_id === model.endpoint_id),
  }));
}

export function Home() {
  const found = useSignal(/** @type {Card[] | null} */ (null));
  const failed = useSignal("");
  useEffect(() => {
    document.title = "Stillmotion";
    cards({ samples: true }).then(
      (all) => (found.value = all),
      (error) => (failed.value = error.message),
    );
  }, []);
  return html`<main id="main" class="home" tabindex="-1">
    <header class="lede">
      <h1>A still image, set in motion</h1>
      <p>Video with sound from one picture and a few words, made on this machine, behind the API that fal's clients speak.</p>
    </header>
    ${failed.value && html`<${Notice}>${failed.value}<//>`}
    <ul class="cards" aria-busy=${String(!found.value && !failed.value)}>
      ${(found.value ?? (failed.value ? [] : [null, null, null, null, null])).map((card, index) =>
        card ? html`<${EndpointCard} key=${card.model.endpoint_id} card=${card} />` : html`<li class="card loading" key=${index} aria-hidden="true"></li>`,
      )}
    </ul>
    <p class="home-foot"><a href="/models">All documents</a></p>
  </main>`;
}

/** @param {{card: Card, compact?: boolean}} props */
export function EndpointCard({ card, compact }) {
  const { model, price, served } = card;
  const name = model.metadata.display_name;
  return html`<li class="card ${compact ? "compact" : ""}">
    ${!compact && served && html`<${Sample} served=${served} />`}
    <div class="card-words">
      <h2><a href=${`/models/${model.endpoint_id}`}>${name}</a></h2>
      <p class="card-id">${model.endpoint_id}</p>
      ${!compact && html`<p class="card-summary">${model.metadata.description}</p>`}
      <p class="tags">
        <span class="tag">${label(model.metadata.category.replaceAll("-", "_"))}</span>
        ${served && html`<span class="tag ${served.kind}">${KINDS[served.kind]}</span>`}
        ${served && !served.available && html`<span class="tag away">Not available</span>`}
      </p>
      ${!compact && served && html`<p class="card-note">${served.note}</p>`}
      <p class="card-foot">
        <span>${priceLine(price)}</span>
        ${!compact && served?.licence && html`<span class="licence">${served.licence.url ? html`<a href=${served.licence.url} rel="noreferrer">${served.licence.name}</a>` : served.licence.name}</span>`}
      </p>
    </div>
  </li>`;
}

/** @param {Price | undefined} price */
function priceLine(price) {
  if (!price) return "Not priced";
  const unit = price.unit.replace(/s$/, "");
  // As the document has it: prices per megapixel go down to the ten millionth.
  const each = price.unit === "seconds" ? `from ${money(price.unit_price)}` : `$${price.unit_price}`;
  return `${each} per ${unit} on fal`;
}

/** A loop if there is one, and the photograph until then; still where motion is not wanted. @param {{served: Served}} props */
function Sample({ served }) {
  const video = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const shown = useSignal(served.sample_url !== null);
  useEffect(() => {
    const element = video.current;
    if (!element || matchMedia("(prefers-reduced-motion: reduce)").matches) return undefined;
    // Only what is looked at moves, and is loaded: five loops are more than all the rest of the page.
    const play = () => void element.play().catch(() => {});
    const pause = () => element.pause();
    const card = element.closest(".card") ?? element;
    if (matchMedia("(hover: none)").matches) {
      const watch = new IntersectionObserver(([entry]) => (entry.isIntersecting ? play() : pause()), { threshold: 0.9 });
      watch.observe(element);
      return () => watch.disconnect();
    }
    const heard = /** @type {const} */ ([["pointerenter", play], ["focusin", play], ["pointerleave", pause], ["focusout", pause]]);
    for (const [name, act] of heard) card.addEventListener(name, act);
    return () => heard.forEach(([name, act]) => card.removeEventListener(name, act));
  }, [shown.value]);
  return html`<div class="card-picture">
    ${shown.value
      ? html`<video
          ref=${video} src=${served.sample_url} poster=${served.photo_url} muted loop playsinline preload="none" tabindex="-1"
          aria-hidden="true" onError=${() => (shown.value = false)}
        />`
      : html`<img src=${served.photo_url} alt="" />`}
  </div>`;
}
