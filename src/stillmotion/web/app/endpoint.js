// The page of one endpoint: playground, API and history, and the endpoints beside it.
import { useEffect, useMemo, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "./ui/html.js";
import { Button, Notice, Panel, Tabs } from "./ui/controls.js";
import { EndpointCard, cards } from "./home/home.js";
import { GridButton } from "./grid/plan.js";
import { GridView } from "./grid/grid.js";
import { InputForm } from "./form/form.js";
import { LiveLine } from "./form/live.js";
import { readSchema } from "./form/schema.js";
import { createForm } from "./form/state.js";
import { History } from "./history/history.js";
import { RunPanel } from "./run/panel.js";
import { begin, open, restore, runs } from "./run/runs.js";
import { Samples } from "./samples/samples.js";
import { madeOne, openapi, samples } from "./server/platform.js";
import { Refused } from "./server/http.js";

/**
 * @typedef {import("./home/home.js").Card} Card
 * @typedef {import("./form/state.js").Form} Form
 * @typedef {import("./server/platform.js").Sample} Sample
 */

/** A tab is one line here and one panel below. */
const TABS = [
  { id: "playground", label: "Playground" },
  { id: "api", label: "API" },
  { id: "history", label: "History" },
];

/** @param {{endpoint: string}} props */
export function EndpointPage({ endpoint }) {
  const form = useSignal(/** @type {Form | null} */ (null));
  const photos = useSignal(/** @type {Sample[]} */ ([]));
  const found = useSignal(/** @type {Card[]} */ ([]));
  const failed = useSignal("");
  useEffect(() => {
    Promise.all([openapi(endpoint), samples().catch(() => [])]).then(
      ([document, pictures]) => {
        const { fields } = readSchema(document);
        photos.value = pictures;
        form.value = createForm(endpoint, fields, firstInput(fields, pictures), pictures);
        restore(endpoint);
        openRequested(endpoint);
      },
      (error) => (failed.value = error.message),
    );
    cards().then(
      (all) => (found.value = all),
      () => {},
    );
  }, [endpoint]);
  const card = found.value.find((each) => each.model.endpoint_id === endpoint);
  return html`<main id="main" class="endpoint" tabindex="-1">
    <header class="endpoint-head">
      <p class="card-id">${endpoint}</p>
      <h1>${card?.model.metadata.display_name ?? "\u00a0"}</h1>
      <p class="endpoint-summary">${card?.model.metadata.description ?? "\u00a0"}</p>
      ${card?.served && html`<p class="serving ${card.served.kind}">${card.served.note}</p>`}
    </header>
    ${failed.value && html`<${Notice}>${failed.value}<//>`}
    ${form.value ? html`<${Tabbed} form=${form.value} photos=${photos.value} />` : !failed.value && html`<div class="loading-page" role="status">Loading …</div>`}
    ${found.value.length > 1 && html`<${Related} endpoint=${endpoint} found=${found.value} />`}
  </main>`;
}

/** A link may name a request that is to be shown. @param {string} endpoint */
async function openRequested(endpoint) {
  const id = new URLSearchParams(location.search).get("request");
  if (!id) return;
  const item = await madeOne(id).catch(() => null);
  if (item?.endpoint_id === endpoint) open({ id, endpoint, at: Date.parse(item.created_at), input: item.input });
}

/** What the form begins with: a photograph of this server's, so that everything runs without another host. @param {Field[]} fields @param {Sample[]} pictures */
function firstInput(fields, pictures) {
  const [picture] = pictures;
  /** @type {Record<string, any>} */
  const input = {};
  for (const field of fields) {
    if (!field.required) continue;
    if (field.name === "prompt") input.prompt = picture?.prompt ?? "";
    else if (field.kind === "picture") input[field.name] = picture?.url ?? "";
    else if (field.kind === "list") input[field.name] = [];
  }
  return input;
}

/** @typedef {import("./form/schema.js").Field} Field */

/** @param {{form: Form, photos: Sample[]}} props */
function Tabbed({ form, photos }) {
  const tab = useSignal(tabInAddress());
  useEffect(() => {
    const changed = () => (tab.value = tabInAddress());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  const select = (/** @type {string} */ id) => {
    history.replaceState(null, "", id === TABS[0].id ? location.pathname : `#${id}`);
    tab.value = id;
  };
  return html`<${Tabs} label="Parts of this page" prefix="page" tabs=${TABS} active=${tab.value} onSelect=${select} />
    <${Panel} prefix="page" id="playground" active=${tab.value}><${Playground} form=${form} photos=${photos} /><//>
    <${Panel} prefix="page" id="api" active=${tab.value}>${tab.value === "api" && html`<${Samples} form=${form} />`}<//>
    <${Panel} prefix="page" id="history" active=${tab.value}>
      ${tab.value === "history" &&
      html`<${History}
        endpoint=${form.endpoint}
        onRestore=${(/** @type {Record<string, any>} */ input) => {
          form.replace(input);
          select("playground");
        }}
      />`}
    <//>`;
}

const tabInAddress = () => TABS.find((tab) => `#${tab.id}` === location.hash)?.id ?? TABS[0].id;

/** @param {{form: Form, photos: Sample[]}} props */
function Playground({ form, photos }) {
  const sending = useSignal(false);
  const failed = useSignal("");
  const output = useRef(/** @type {HTMLElement | null} */ (null));
  const run = async () => {
    if (sending.value || form.textFault.value) return;
    sending.value = true;
    failed.value = "";
    form.faults.value = [];
    try {
      await begin(form.endpoint, form.input.value);
      reveal(output.current);
    } catch (error) {
      const detail = error instanceof Refused ? error.body?.detail : null;
      if (Array.isArray(detail)) form.faults.value = detail;
      else failed.value = /** @type {Error} */ (error).message;
    }
    sending.value = false;
  };
  // What the server said about the newest request belongs to the fields that it names.
  const newest = runs.value[0];
  const detail = newest?.error.value?.detail;
  useEffect(() => {
    if (detail?.length) form.faults.value = detail;
  }, [detail]);
  const photo = useMemo(() => photos[0]?.thumbnail_url ?? "", [photos]);
  return html`<div class="playground">
    <div class="compose">
      <${InputForm} form=${form} onRun=${run} />
      <div class="launch" data-floating>
        <${LiveLine} form=${form} />
        <div class="launch-buttons">
          <${GridButton} form=${form} onBegin=${() => reveal(output.current)} />
          <${Button}
            kind="primary run-button" icon="play" label=${sending.value ? "Sending …" : "Run"} disabled=${sending.value || Boolean(form.textFault.value)}
            onClick=${run}
          />
        </div>
      </div>
      ${failed.value && html`<${Notice}>${failed.value}<//>`}
    </div>
    <div ref=${output} class="output"><${GridView} endpoint=${form.endpoint} /><${RunPanel} form=${form} onRun=${run} photo=${photo} /></div>
  </div>`;
}

/** On a phone the output stands below the form. @param {HTMLElement | null} element */
function reveal(element) {
  if (!element || element.getBoundingClientRect().top < innerHeight / 2) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block: "start", behavior: calm ? "instant" : "smooth" });
}

/** @param {{endpoint: string, found: Card[]}} props */
function Related({ endpoint, found }) {
  const others = found.filter((each) => each.model.endpoint_id !== endpoint);
  return html`<aside class="related" aria-labelledby="related-title">
    <h2 id="related-title">Related models</h2>
    <ul class="cards">
      ${others.map((card) => html`<${EndpointCard} key=${card.model.endpoint_id} card=${card} compact />`)}
    </ul>
  </aside>`;
}
