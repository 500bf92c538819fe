// API keys: made, shown once, revoked.
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button, CopyButton } from "../ui/controls.js";
import { announce } from "../ui/announce.js";
import { ago } from "../ui/text.js";
import { Confirmed, Item, None, Part, Standing, attempt } from "./parts.js";
import { usePolled } from "./polling.js";
import { createKey, keys, revokeKey } from "./server.js";

/**
 * @typedef {import("./server.js").Key} Key
 * @typedef {import("../server/platform.js").Caller} Caller
 * @typedef {{alias: string, key: string}} Made
 */

const LOOK_MS = 30_000;

/** @param {{who: Caller}} props */
export function Keys({ who }) {
  const { found, failed, refresh } = usePolled(keys, () => LOOK_MS);
  const fault = useSignal("");
  // Nowhere else: it is gone with this section, or with the button that says so.
  const made = useSignal(/** @type {Made | null} */ (null));
  const create = (/** @type {string} */ alias, /** @type {string} */ scope) =>
    attempt(fault, async () => {
      const { key } = await createKey(alias, scope);
      made.value = { alias, key };
      announce(`The key of ${alias} is made and is shown this once`);
      await refresh();
    });
  const revoke = (/** @type {Key} */ key) =>
    attempt(fault, async () => {
      await revokeKey(key.key_id);
      announce(`The key of ${key.alias} is revoked`);
      await refresh();
    });
  const all = found.value?.keys ?? [];
  const working = all.filter((key) => !key.revoked_at);
  const revoked = all.filter((key) => key.revoked_at);
  return html`<${Standing} failed=${fault.value || failed.value} loading=${!found.value} />
    ${found.value &&
    html`${!found.value.required && html`<p class="op-note">This server listens on loopback and asks nobody for a key. Keys count when it is started for other machines.</p>`}
      <${Part} id="op-new-key" title="New key">
        ${made.value ? html`<${Once} made=${made.value} onDone=${() => (made.value = null)} />` : html`<${NewKey} onCreate=${create} />`}
      <//>
      <${Part} id="op-keys" title="Keys" count=${working.length}>
        ${working.length
          ? html`<ul class="op-list">${working.map((key) => html`<${KeyLine} key=${key.key_id} each=${key} own=${key.key_id === who.key_id} onRevoke=${revoke} />`)}</ul>`
          : html`<${None}>There is no key yet.<//>`}
        ${revoked.length > 0 &&
        html`<details class="op-more">
          <summary>Revoked<span class="count">${revoked.length}</span></summary>
          <ul class="op-list">${revoked.map((key) => html`<${KeyLine} key=${key.key_id} each=${key} own=${false} onRevoke=${revoke} />`)}</ul>
        </details>`}
      <//>`}`;
}

/** @param {{each: Key, own: boolean, onRevoke: (key: Key) => Promise<unknown>}} props */
const KeyLine = ({ each, own, onRevoke }) =>
  html`<${Item}
    title=${each.alias} data-key=${each.key_id}
    tag=${html`<span class="tag ${each.scope === "admin" ? "demonstration" : ""}">${each.scope}</span>${own && html`<span class="tag checkpoint">this page's</span>`}`}
    facts=${[`made ${ago(each.created_at)}`, each.revoked_at && `revoked ${ago(each.revoked_at)}`, html`<code>${each.key_id}</code>`]}
    actions=${!each.revoked_at &&
    html`<${Confirmed}
      label="Revoke" icon="trash" sure=${own ? "Revoke this page's own key" : "Revoke for good"} of=${`${each.alias}, ${each.key_id.slice(0, 8)}`}
      onSure=${() => onRevoke(each)}
    />`}
  />`;

/** @param {{onCreate: (alias: string, scope: string) => Promise<boolean>}} props */
function NewKey({ onCreate }) {
  const alias = useSignal("");
  const scope = useSignal("api");
  const busy = useSignal(false);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    busy.value = true;
    await onCreate(alias.value.trim(), scope.value);
    busy.value = false;
  };
  return html`<form class="op-form" onSubmit=${submit}>
    <label>
      <span class="field-name">Name</span>
      <input
        type="text" required autocomplete="off" autocapitalize="off" spellcheck=${false} maxlength="64" pattern="[a-z0-9][a-z0-9_.\\-]*" value=${alias.value}
        title="Small letters, digits, '.', '_' and '-'" aria-describedby="op-alias-help"
        onInput=${(/** @type {any} */ event) => (alias.value = event.currentTarget.value)}
      />
    </label>
    <label>
      <span class="field-name">Scope</span>
      <select onChange=${(/** @type {any} */ event) => (scope.value = event.currentTarget.value)}>
        <option value="api" selected=${scope.value === "api"}>api: makes videos</option>
        <option value="admin" selected=${scope.value === "admin"}>admin: everything</option>
      </select>
    </label>
    <button type="submit" class="button primary" disabled=${busy.value}>Create</button>
    <p class="op-note" id="op-alias-help">Requests, files and usage belong to the name: several keys of one name share them.</p>
  </form>`;
}

/** @param {{made: Made, onDone: () => void}} props */
function Once({ made, onDone }) {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => field.current?.select(), []);
  return html`<div class="op-once">
    <label class="field-name" for="op-secret">Key of ${made.alias}, shown this once</label>
    <div class="op-once-row">
      <input id="op-secret" ref=${field} type="text" class="code" readonly value=${made.key} autocomplete="off" spellcheck=${false} />
      <${CopyButton} text=${() => made.key} label="Copy" />
      <${Button} kind="plain" label="I have it" onClick=${onDone} />
    </div>
    <p class="op-note">The server keeps a digest of it and cannot show it again.</p>
  </div>`;
}
