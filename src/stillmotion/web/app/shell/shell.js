// What stands around every page: the name, the key, the colours, and words for screen readers.
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Announcer, announce } from "../ui/announce.js";
import { Button } from "../ui/controls.js";
import { caller } from "../server/platform.js";
import { isDark, key, keyWanted, theme } from "./session.js";

/** @param {{children?: unknown}} props */
export function Shell({ children }) {
  return html`<a class="skip" href="#main">Skip to the content</a>
    <header class="bar">
      <a class="brand" href="/" aria-label="Stillmotion"><span class="brand-mark" aria-hidden="true"></span><span class="brand-name">Stillmotion</span></a>
      <nav aria-label="Site"><a href="/models">Documents</a><${OperationsLink} /></nav>
      <div class="bar-tools"><${KeyTool} /><${ThemeTool} /></div>
    </header>
    ${children}
    <${Announcer} />`;
}

/** For those alone to whom the page shows anything. */
function OperationsLink() {
  const admin = useSignal(false);
  useEffect(() => {
    caller().then(
      ({ scope }) => (admin.value = scope === "admin"),
      () => {},
    );
  }, []);
  const here = location.pathname === "/operations";
  return admin.value && html`<a href="/operations" aria-current=${here ? "page" : undefined}>Operations</a>`;
}

function ThemeTool() {
  theme.value;
  const dark = isDark();
  return html`<${Button}
    quiet kind="ghost" icon=${dark ? "sun" : "moon"} label=${dark ? "Light colours" : "Dark colours"}
    onClick=${() => (theme.value = dark ? "light" : "dark")}
  />`;
}

function KeyTool() {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => {
    if (keyWanted.value && !dialog.current?.open) dialog.current?.showModal();
  }, [keyWanted.value]);
  const save = (/** @type {Event} */ event) => {
    event.preventDefault();
    key.value = field.current?.value.trim() ?? "";
    keyWanted.value = false;
    dialog.current?.close();
    announce(key.value ? "The key is used from now on" : "The key is forgotten");
    // What was refused before is asked for again.
    location.reload();
  };
  return html`<${Button}
      quiet kind="ghost" icon="key" label=${key.value ? "Change the API key" : "Set an API key"} onClick=${() => dialog.current?.showModal()}
    />
    <dialog ref=${dialog} aria-labelledby="key-title">
      <form onSubmit=${save}>
        <h2 id="key-title">API key</h2>
        <p>
          ${keyWanted.value
            ? "This server asks for a key."
            : "A server on loopback asks nobody for a key; others do."}${" "}
          It is kept in this tab alone and forgotten when the tab is closed.
        </p>
        <label class="field-name" for="key-field">Key</label>
        <input id="key-field" ref=${field} type="password" autocomplete="off" spellcheck=${false} placeholder="id:secret" value=${key.value} />
        <div class="dialog-actions">
          <button type="submit" class="button primary">Use this key</button>
          <${Button} label="Close" onClick=${() => dialog.current?.close()} />
        </div>
      </form>
    </dialog>`;
}
