// Engines at work, who waits, and what failed: live.
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button } from "../ui/controls.js";
import { announce } from "../ui/announce.js";
import { ago, counted, duration } from "../ui/text.js";
import { EngineCard } from "./engines.js";
import { Facts, Item, None, Part, Standing, attempt } from "./parts.js";
import { usePolled } from "./polling.js";
import { board, cancelAnyones, depths, engines } from "./server.js";

/** @typedef {import("./server.js").Asked} Asked @typedef {import("./server.js").Depths} Depths */

const LOOK_MS = 2000;
const SHOWN = 20;

export function Queue() {
  const { found, failed, refresh } = usePolled(
    async () => {
      const [homes, counts, requests] = await Promise.all([engines(), depths(), board(SHOWN)]);
      return { homes, counts, ...requests, at: Date.now() };
    },
    () => LOOK_MS,
  );
  const fault = useSignal("");
  const { value: now } = found;
  const cancel = (/** @type {string} */ id) =>
    attempt(fault, async () => {
      await cancelAnyones(id);
      announce("The request is cancelled");
      await refresh();
    });
  if (!now) return html`<${Standing} failed=${failed.value} loading />`;
  const known = new Set(now.homes.map((engine) => engine.name));
  const elsewhere = now.running.filter((each) => !known.has(each.engine ?? ""));
  return html`<${Standing} failed=${fault.value || failed.value} loading=${false} />
    <${Facts} facts=${sums(now.counts)} />
    <${Part} id="op-engines" title="Engines" count=${now.homes.length}>
      <ul class="op-engines">
        ${now.homes.map(
          (engine) => html`<${EngineCard}
            key=${engine.name} engine=${engine} running=${now.running.filter((each) => each.engine === engine.name)}
            at=${now.at} onCancel=${cancel} onChanged=${refresh} fault=${fault}
          />`,
        )}
      </ul>
      ${elsewhere.length > 0 && html`<p class="op-note">${counted(elsewhere.length, "request")} of an engine that this process does not have; they are taken up again when their time is over.</p>`}
    <//>
    <${Part} id="op-waiting" title="Waiting" count=${now.counts.waiting}>
      ${now.waiting.length
        ? html`<ol class="op-list">
            ${now.waiting.map(
              (each, index) => html`<${Item}
                key=${each.request_id} data-request=${each.request_id} title=${each.endpoint_id}
                tag=${each.priority === "low" && html`<span class="tag">low priority</span>`}
                facts=${[index === 0 ? "next" : `${index} ahead`, `key ${each.key}`, `waits ${since(each.created_at, now.at)}`, each.attempt > 0 && `attempt ${each.attempt} was lost`]}
                actions=${html`<${Button}
                  kind="small" icon="close" label="Cancel" aria-label=${`Cancel the waiting request of ${each.key}, ${each.request_id.slice(0, 8)}`}
                  onClick=${() => cancel(each.request_id)}
                />`}
              />`,
            )}
          </ol>`
        : html`<${None}>Nobody waits.<//>`}
      ${now.counts.waiting > now.waiting.length && now.waiting.length > 0 && html`<p class="op-note">The first ${now.waiting.length} of ${now.counts.waiting} are shown.</p>`}
      ${now.counts.waiting > 0 && html`<${Lengths} counts=${now.counts} />`}
    <//>
    <${Part} id="op-failed" title="Recent failures" count=${now.failed.length}>
      ${now.failed.length
        ? html`<ul class="op-list">${now.failed.map((each) => html`<${Failure} key=${each.request_id} each=${each} />`)}</ul>`
        : html`<${None}>None of the newest 2,000 requests has failed.<//>`}
    <//>`;
}

/** @param {Depths} counts @returns {[string, unknown][]} */
function sums(counts) {
  const waits = counts.endpoints.map((each) => each.oldest_waiting_seconds ?? 0);
  return [
    ["Working", counts.running],
    ["Waiting", counts.waiting],
    ["Longest wait", counts.waiting ? duration(Math.max(...waits)) : "–"],
  ];
}

/** @param {{counts: Depths}} props */
const Lengths = ({ counts }) =>
  html`<details class="op-more">
    <summary>By endpoint</summary>
    <div class="op-scroll" role="region" aria-label="Queue by endpoint" tabindex="0">
      <table>
        <thead><tr><th scope="col">Endpoint</th><th scope="col">Normal</th><th scope="col">Low</th><th scope="col">Working</th><th scope="col">Longest wait</th></tr></thead>
        <tbody>
          ${counts.endpoints.map(
            (each) => html`<tr key=${each.endpoint_id}>
              <th scope="row">${each.endpoint_id}</th><td>${each.waiting.normal}</td><td>${each.waiting.low}</td><td>${each.running}</td>
              <td>${each.oldest_waiting_seconds === null ? "–" : duration(each.oldest_waiting_seconds)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;

/** @param {{each: Asked}} props */
const Failure = ({ each }) =>
  html`<${Item}
    title=${each.endpoint_id} tag=${each.error && html`<span class="tag bad">${each.error.error_type}</span>`} data-request=${each.request_id}
    facts=${[each.ended_at && ago(each.ended_at), `key ${each.key}`, each.engine, html`<code>${each.request_id.slice(0, 8)}</code>`]}
  >
    ${each.error && html`<p class="op-fault">${each.error.message}</p>`}
  <//>`;

/** @param {string} iso @param {number} now */
export const since = (iso, now) => duration((now - Date.parse(iso)) / 1000);
