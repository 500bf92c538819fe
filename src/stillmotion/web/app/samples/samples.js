// The API tab: the current input as code, the host lines, and where the whole documents are.
import { useEffect } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { CopyButton, Panel, Tabs } from "../ui/controls.js";
import { access } from "../server/platform.js";
import { key, keyWanted } from "../shell/session.js";
import { curl, javascript, python } from "./snippets.js";

const LANGUAGES = [
  { id: "curl", label: "cURL", write: curl },
  { id: "python", label: "Python", write: python },
  { id: "javascript", label: "JavaScript", write: javascript },
];
const INSTALL = { curl: "", python: "pip install fal-client", javascript: "npm install @fal-ai/client" };

/** @param {{form: import("../form/state.js").Form}} props */
export function Samples({ form }) {
  const language = useSignal("curl");
  const host = useSignal(/** @type {{https?: string, ca?: string}} */ ({}));
  useEffect(() => {
    access().then(
      (found) => (host.value = found),
      () => {},
    );
  }, []);
  const { endpoint, input } = form;
  const needsKey = Boolean(key.value) || keyWanted.value;
  const call = { endpoint, input: input.value, origin: location.origin, ...host.value, needsKey };
  const install = /** @type {Record<string, string>} */ (INSTALL)[language.value];
  return html`<section class="samples" aria-label="API">
    <div class="samples-intro">
      <h2>The same request, as code</h2>
      <p>
        This is what the form holds now, for this server. It runs as it is copied.
        ${needsKey && html` Set <code>FAL_KEY</code> to your key first.`}
      </p>
      <ul class="links">
        <li><a href=${`/models/${endpoint}/api`}>Reference</a></li>
        <li><a href=${`/api/openapi/queue/openapi.json?endpoint_id=${endpoint}`}>OpenAPI</a></li>
        <li><a href=${`/models/${endpoint}/llms.txt`}>llms.txt</a></li>
      </ul>
    </div>
    <${Tabs} label="Language" prefix="language" tabs=${LANGUAGES} small active=${language.value} onSelect=${(/** @type {string} */ id) => (language.value = id)} />
    ${LANGUAGES.map(
      (each) => html`<${Panel} prefix="language" id=${each.id} active=${language.value} key=${each.id}>
        ${each.id === language.value &&
        html`${install && html`<p class="install"><code>${install}</code></p>`}
          <div class="code-block">
            <${CopyButton} label=${`Copy ${each.label}`} kind="small" text=${() => each.write(call)} />
            <pre tabindex="0" aria-label=${`${each.label} sample`}><code>${each.write(call)}</code></pre>
          </div>`}
      <//>`,
    )}
    <details class="host-lines">
      <summary><span>Host lines, for programs that you do not change</span></summary>
      <p>In a shell on this machine:</p>
      <div class="code-block">
        <${CopyButton} label="Copy the host lines" kind="small" text=${() => hostLines(call)} />
        <pre tabindex="0" aria-label="Host lines"><code>${hostLines(call)}</code></pre>
      </div>
    </details>
  </section>`;
}

/** As `stillmotion client-env` prints them. @param {import("./snippets.js").Call} call */
function hostLines({ origin, https, ca, needsKey }) {
  const host = (https ?? origin).replace(/^https?:\/\//, "");
  return [
    `export FAL_RUN_HOST=${host}/run`,
    `export FAL_QUEUE_RUN_HOST=${host}/queue`,
    `export FAL_KEY=${needsKey ? "…" : "local:local"}`,
    ...(ca ? [`export SSL_CERT_FILE='${ca.replaceAll("'", "'\\''")}'`] : []),
  ].join("\n");
}
