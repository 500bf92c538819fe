// The operators' page has an entry of its own: what makes videos and what runs the server are not loaded together.
import { render } from "preact";
import { html } from "../ui/html.js";
import { Shell } from "../shell/shell.js";
import { OperationsPage } from "./page.js";

const root = document.getElementById("app");
if (root) render(html`<${Shell}><${OperationsPage} /><//>`, root);
