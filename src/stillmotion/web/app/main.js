// The page that belongs to the address. Links between pages are plain ones: each is small, and the script is cached.
import { render } from "preact";
import { html } from "./ui/html.js";
import { ComparePage } from "./compare/compare.js";
import { EndpointPage } from "./endpoint.js";
import { Home } from "./home/home.js";
import { Shell } from "./shell/shell.js";

/** Address to page; the first one that fits. @type {[RegExp, (...found: string[]) => unknown][]} */
const PAGES = [
  [/^\/models\/(.+?)\/?$/, (endpoint) => html`<${EndpointPage} endpoint=${endpoint} />`],
  [/^\/compare\/?$/, () => html`<${ComparePage} />`],
  [/^/, () => html`<${Home} />`],
];

function page() {
  for (const [pattern, show] of PAGES) {
    const found = pattern.exec(location.pathname);
    if (found) return show(...found.slice(1));
  }
  return null;
}

const root = document.getElementById("app");
if (root) render(html`<${Shell}>${page()}<//>`, root);
