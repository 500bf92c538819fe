// What whoever runs the server looks at. Nobody is shown what the server would refuse.
import { useEffect } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Panel, Tabs } from "../ui/controls.js";
import { caller } from "../server/platform.js";
import { key, keyWanted } from "../shell/session.js";
import { Keys } from "./keys.js";
import { Models } from "./models.js";
import { Standing } from "./parts.js";
import { told } from "./polling.js";
import { Queue } from "./queue.js";
import { Usage } from "./usage.js";
import { Webhooks } from "./webhooks.js";

/** @typedef {import("../server/platform.js").Caller} Caller */

/** A section is one line. */
const SECTIONS = [
  { id: "queue", label: "Queue", part: Queue },
  { id: "usage", label: "Usage", part: Usage },
  { id: "keys", label: "Keys", part: Keys },
  { id: "webhooks", label: "Webhooks", part: Webhooks },
  { id: "models", label: "Models", part: Models },
];

export function OperationsPage() {
  const who = useSignal(/** @type {Caller | null} */ (null));
  const failed = useSignal("");
  useEffect(() => {
    document.title = "Operations · Stillmotion";
    caller().then(
      (found) => {
        who.value = found;
        keyWanted.value = found.required && !found.scope;
      },
      (error) => (failed.value = told(error)),
    );
  }, [key.value]);
  return html`<main id="main" class="operations" tabindex="-1">
    <header class="endpoint-head"><h1>Operations</h1></header>
    <${Standing} failed=${failed.value} loading=${!who.value} />
    ${who.value && (who.value.scope === "admin" ? html`<${Sections} who=${who.value} />` : html`<${Refusal} who=${who.value} />`)}
  </main>`;
}

/** @param {{who: Caller}} props */
const Refusal = ({ who }) =>
  html`<section class="op-refusal">
    <h2>${who.scope ? "This key may not see this page" : "This page needs an admin key"}</h2>
    <p>
      ${who.scope &&
      html`The key <strong>${who.key}</strong> has the scope <code>api</code>: it makes videos and sees its own requests. `}
      Queues, usage, keys, webhooks and models of the whole server are for keys with the scope <code>admin</code>. Set one
      with the key symbol above, or have one made on the server's machine:
    </p>
    <pre><code>stillmotion keys create NAME --scope admin</code></pre>
  </section>`;

/** @param {{who: Caller}} props */
function Sections({ who }) {
  const section = useSignal(inAddress());
  useEffect(() => {
    const changed = () => (section.value = inAddress());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  const select = (/** @type {string} */ id) => {
    history.replaceState(null, "", `#${id}`);
    section.value = id;
  };
  return html`<${Tabs} label="Sections" prefix="operations" tabs=${SECTIONS} active=${section.value} onSelect=${select} />
    ${SECTIONS.map(
      // Only the section that is looked at asks the server.
      ({ id, part }) => html`<${Panel} key=${id} prefix="operations" id=${id} active=${section.value}>
        ${id === section.value && html`<${part} who=${who} />`}
      <//>`,
    )}`;
}

const inAddress = () => SECTIONS.find(({ id }) => `#${id}` === location.hash)?.id ?? SECTIONS[0].id;
