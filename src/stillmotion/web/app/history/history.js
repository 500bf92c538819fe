// What this key has made on one endpoint: search, filter, pin, delete, and back into the form.
import { useEffect } from "preact/hooks";
import { batch, useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { CompareLink } from "../compare/compare.js";
import { Button, Notice } from "../ui/controls.js";
import { Icon } from "../ui/icons.js";
import { announce } from "../ui/announce.js";
import { ago, money, plain } from "../ui/text.js";
import { forget, made, madeOne, pin } from "../server/platform.js";
import { key } from "../shell/session.js";

/** @typedef {import("../server/platform.js").Made} Made */

const STATES = [
  ["", "All"],
  ["done", "Done"],
  ["queued,running", "In progress"],
  ["failed,cancelled", "Failed or cancelled"],
];
const TYPING_MS = 250;
/** Pages that are asked for at once when a filter leaves most of them empty. */
const MOST_EMPTY = 5;

/** @param {{endpoint: string, onRestore: (input: Record<string, any>) => void}} props */
export function History({ endpoint, onRestore }) {
  const items = useSignal(/** @type {Made[] | null} */ (null));
  const next = useSignal(/** @type {string | null} */ (null));
  const failed = useSignal("");
  const words = useSignal("");
  const state = useSignal("");
  const pinned = useSignal(false);
  /** Those to be compared, two at most: a third one takes the place of the older. */
  const chosen = useSignal(/** @type {string[]} */ ([]));

  const load = async (/** @type {string | null} */ cursor, /** @type {{stopped: boolean}} */ turn) => {
    failed.value = "";
    try {
      const wanted = { q: words.value.trim(), endpoint_id: endpoint, state: state.value, pinned: pinned.value ? "true" : "" };
      let page = await made({ ...wanted, cursor: cursor ?? "" });
      for (let more = 0; !page.items.length && page.next_cursor && more < MOST_EMPTY; more += 1) {
        page = await made({ ...wanted, cursor: page.next_cursor });
      }
      if (turn.stopped) return;
      batch(() => {
        items.value = [...(cursor ? (items.value ?? []) : []), ...page.items];
        next.value = page.next_cursor;
      });
    } catch (error) {
      if (!turn.stopped) failed.value = /** @type {Error} */ (error).message;
    }
  };
  useEffect(() => {
    const turn = { stopped: false };
    const timer = setTimeout(() => load(null, turn), items.value ? TYPING_MS : 0);
    return () => {
      turn.stopped = true;
      clearTimeout(timer);
    };
  }, [words.value, state.value, pinned.value, key.value]);

  const change = (/** @type {string} */ id, /** @type {(item: Made) => Made | null} */ how) =>
    (items.value = (items.value ?? []).flatMap((item) => (item.request_id === id ? (how(item) ?? []) : item)));
  const act = async (/** @type {() => Promise<void>} */ what) => {
    failed.value = "";
    try {
      await what();
    } catch (error) {
      failed.value = /** @type {Error} */ (error).message;
    }
  };
  const acts = {
    restore: (/** @type {Made} */ item) =>
      act(async () => {
        const { input } = await madeOne(item.request_id);
        if (!input) throw new Error("The input of this request is not kept.");
        onRestore(input);
        announce("The form has the input of that request");
      }),
    pin: (/** @type {Made} */ item) =>
      act(async () => {
        await pin(item.request_id, !item.pinned);
        change(item.request_id, (each) => ({ ...each, pinned: !item.pinned }));
      }),
    forget: (/** @type {Made} */ item) =>
      act(async () => {
        await forget(item.request_id);
        chosen.value = chosen.value.filter((id) => id !== item.request_id);
        change(item.request_id, () => null);
        announce("Deleted");
      }),
    choose: (/** @type {Made} */ { request_id: id }) => {
      const { value } = chosen;
      chosen.value = value.includes(id) ? value.filter((other) => other !== id) : [...value, id].slice(-2);
    },
  };
  const filtered = Boolean(words.value || state.value || pinned.value);
  return html`<section class="history" aria-label="History">
    <form class="history-filters" role="search" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <label class="search">
        <span class="visually-hidden">Search the prompts</span>
        <${Icon} name="search" />
        <input
          type="search" placeholder="Search the prompts" value=${words.value}
          onInput=${(/** @type {any} */ event) => (words.value = event.currentTarget.value)}
        />
      </label>
      <label>
        <span class="visually-hidden">State</span>
        <select onChange=${(/** @type {any} */ event) => (state.value = event.currentTarget.value)}>
          ${STATES.map(([value, name]) => html`<option value=${value} selected=${value === state.value}>${name}</option>`)}
        </select>
      </label>
      <${Button} icon="pin" label="Pinned" kind="small" pressed=${pinned.value} onClick=${() => (pinned.value = !pinned.value)} />
    </form>
    ${failed.value && html`<${Notice}>${failed.value}<//>`}
    ${items.value === null && !failed.value && html`<p class="history-none" role="status">Loading …</p>`}
    ${items.value?.length === 0 && html`<p class="history-none">${filtered ? "Nothing fits." : "Nothing yet. What you run appears here."}</p>`}
    ${chosen.value.length > 0 && html`<${Chosen} ids=${chosen.value} onClear=${() => (chosen.value = [])} />`}
    <ul class="made">
      ${items.value?.map((item) => html`<${Item} key=${item.request_id} item=${item} acts=${acts} chosen=${chosen.value.includes(item.request_id)} />`)}
    </ul>
    ${next.value && html`<p class="more"><${Button} label="Show more" onClick=${() => load(next.value, { stopped: false })} /></p>`}
  </section>`;
}

/** @param {{ids: string[], onClear: () => void}} props */
const Chosen = ({ ids, onClear }) =>
  html`<div class="chosen" role="group" aria-label="Comparison">
    <p role="status">${ids.length < 2 ? "One result chosen. Choose another one to compare it with." : "Two results chosen."}</p>
    ${ids.length === 2 && html`<${CompareLink} a=${ids[0]} b=${ids[1]} label="Compare the two" kind="primary small" />`}
    <${Button} kind="ghost small" label="Clear" onClick=${onClear} />
  </div>`;

/** @param {{item: Made, acts: Record<"restore" | "pin" | "forget" | "choose", (item: Made) => void>, chosen: boolean}} props */
function Item({ item, acts, chosen }) {
  const sure = useSignal(false);
  const over = item.state !== "queued" && item.state !== "running";
  return html`<li class="made-item ${item.state}" data-request=${item.request_id}>
    <div class="made-picture">
      ${item.poster_url ? html`<img src=${item.poster_url} alt="" loading="lazy" />` : html`<span class="made-none">${WORDS[item.state]}</span>`}
    </div>
    <div class="made-words">
      <p class="made-prompt">${item.prompt || "Without a prompt"}</p>
      <p class="made-facts">${factsOf(item).map((fact) => html`<span>${fact}</span>`)}</p>
      ${item.error && item.state === "failed" && html`<p class="made-error">${item.error.message}</p>`}
      <div class="made-actions">
        <${Button} kind="small" label="Restore" icon="reset" onClick=${() => acts.restore(item)} />
        ${item.video_url && html`<a class="button small" href=${item.video_url} download="">Download</a>`}
        ${item.state === "done" && item.video_url && html`<${Button} kind="small" icon="compare" label="Compare" pressed=${chosen} onClick=${() => acts.choose(item)} />`}
        <${Button} kind="ghost small" quiet icon="pin" label=${item.pinned ? "Unpin" : "Pin"} pressed=${item.pinned} onClick=${() => acts.pin(item)} />
        ${over &&
        (sure.value
          ? html`<${Button} kind="danger small" label="Delete for good" onClick=${() => acts.forget(item)} />
              <${Button} kind="ghost small" label="Keep" onClick=${() => (sure.value = false)} />`
          : html`<${Button} kind="ghost small" quiet icon="trash" label="Delete" onClick=${() => (sure.value = true)} />`)}
      </div>
    </div>
  </li>`;
}

/** @type {Record<string, string>} */
const WORDS = { queued: "In the queue", running: "Working", done: "No picture", failed: "Failed", cancelled: "Cancelled" };

/** @param {Made} item */
const factsOf = (item) =>
  [
    ago(item.created_at),
    item.width && `${item.width} × ${item.height}`,
    item.duration && `${plain(item.duration, 1)} s`,
    item.seed !== null && `seed ${item.seed}`,
    item.cost > 0 && money(item.cost),
  ].filter(Boolean);
