// Webhooks of all keys: where they stand, what receivers answered, and sending them again.
import { useEffect } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button } from "../ui/controls.js";
import { announce } from "../ui/announce.js";
import { ago, counted, duration } from "../ui/text.js";
import { Item, None, Part, Standing, attempt } from "./parts.js";
import { usePolled } from "./polling.js";
import { deliveries, redeliver, webhooks } from "./server.js";

/** @typedef {import("./server.js").Delivery} Delivery @typedef {import("./server.js").Webhook} Webhook */

const LOOK_MS = 3000;
const PAGE = 20;
const MOST = 100;

/** @type {Record<Webhook["state"], {words: string, kind: string}>} */
const STATES = {
  waiting: { words: "its request has not ended", kind: "" },
  pending: { words: "to be delivered", kind: "away" },
  delivered: { words: "delivered", kind: "checkpoint" },
  failed: { words: "given up", kind: "bad" },
};
/** @type {Record<string, string>} */
const WORDS = {
  unreachable: "could not be reached",
  tls_error: "has no certificate that is trusted",
  timeout: "did not answer in time",
  no_answer: "broke the connection",
  interrupted: "was cut off by the end of this server",
  internal_error: "met a fault of this server",
};

export function Webhooks() {
  const shown = useSignal(PAGE);
  const fault = useSignal("");
  const { found, failed, refresh } = usePolled(() => webhooks(shown.value), () => LOOK_MS, [shown.value]);
  const again = (/** @type {Webhook} */ webhook) =>
    attempt(fault, async () => {
      await redeliver(webhook);
      announce("The webhook is sent again");
      await refresh();
    });
  const all = found.value?.webhooks ?? [];
  return html`<${Standing} failed=${fault.value || failed.value} loading=${!found.value} />
    ${found.value &&
    html`<${Part} id="op-webhooks" title="Webhooks">
      ${all.length
        ? html`<ul class="op-list">${all.map((each) => html`<${Line} key=${each.request_id} each=${each} onAgain=${again} />`)}</ul>`
        : html`<${None}>No request has named a webhook yet.<//>`}
      ${found.value.has_more &&
      (shown.value < MOST
        ? html`<p class="more"><${Button} label="Show more" onClick=${() => (shown.value = Math.min(MOST, shown.value + PAGE))} /></p>`
        : html`<p class="op-note">The newest ${MOST} are shown; <code>GET /v1/webhooks</code> has them all.</p>`)}
    <//>`}`;
}

/** @param {{each: Webhook, onAgain: (webhook: Webhook) => void}} props */
function Line({ each, onAgain }) {
  const state = STATES[each.state];
  const due = each.next_attempt_at && (Date.parse(each.next_attempt_at) - Date.now()) / 1000;
  const words = each.state !== "pending" ? state.words : due === null ? "being delivered" : state.words;
  return html`<${Item}
    title=${each.url} tag=${html`<span class="tag ${state.kind}">${words}</span>`} data-request=${each.request_id} data-state=${each.state}
    facts=${[
      `key ${each.key}`, each.endpoint_id, html`request <code>${each.request_id.slice(0, 8)}</code>`, counted(each.attempts, "attempt"),
      each.last && answer(each.last), each.last && ago(each.last.at),
      due !== null && due !== "" && (due > 0 ? `next in ${duration(due)}` : "next now"),
    ]}
    actions=${each.state !== "waiting" &&
    html`<${Button} kind="small" icon="reset" label="Send again" aria-label=${`Send again: ${each.request_id.slice(0, 8)} to ${each.url}`} onClick=${() => onAgain(each)} />`}
  >
    ${each.attempts > 0 && html`<${Log} each=${each} />`}
  <//>`;
}

/** All deliveries, asked for when they are looked at, and again when there are more. @param {{each: Webhook}} props */
function Log({ each }) {
  const all = useSignal(/** @type {Delivery[] | null} */ (null));
  const open = useSignal(false);
  const fault = useSignal("");
  useEffect(() => {
    if (open.value) attempt(fault, async () => (all.value = (await deliveries(each)).deliveries));
  }, [open.value, each.attempts, each.last?.at]);
  return html`<details class="op-more" onToggle=${(/** @type {any} */ event) => (open.value = event.currentTarget.open)}>
    <summary>Deliveries<span class="visually-hidden"> of ${each.request_id.slice(0, 8)}</span></summary>
    ${fault.value && html`<p class="op-fault">${fault.value}</p>`}
    <ol class="op-log">
      ${all.value?.map(
        (delivery) => html`<li key=${delivery.attempt}>
          <time datetime=${delivery.at}>${delivery.at.slice(0, 19).replace("T", " ")}</time> ${answer(delivery)}
        </li>`,
      )}
    </ol>
  </details>`;
}

/** @param {Delivery} delivery */
function answer({ status, error, seconds }) {
  const what = status !== null ? `answered ${status}` : WORDS[error ?? ""] ?? error ?? "no answer";
  return seconds === null ? what : `${what} after ${seconds < 1 ? `${Math.round(1000 * seconds)} ms` : duration(seconds)}`;
}
