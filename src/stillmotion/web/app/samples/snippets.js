// The current input as a program: it runs as it is copied, against this server, in three languages.
import { write } from "../ui/json.js";

/**
 * @typedef {{endpoint: string, input: Record<string, any>, origin: string, https?: string, ca?: string,
 *   needsKey: boolean}} Call `https` and `ca` as the server tells programs of its own machine
 */

/** @param {Call} call */
export function curl({ endpoint, input, origin, ca, needsKey }) {
  const certificate = origin.startsWith("https:") && ca ? [`  --cacert ${quoted(ca)} \\`] : [];
  return [
    "curl --request POST \\",
    `  --url ${quoted(`${origin}/run/${endpoint}`)} \\`,
    ...certificate,
    ...(needsKey ? ['  --header "Authorization: Key $FAL_KEY" \\'] : []),
    '  --header "Content-Type: application/json" \\',
    `  --data ${quoted(write(input))}`,
  ].join("\n");
}

/** For a POSIX shell: inside single quotes only the quote itself is special. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** @param {Call} call */
export function python({ endpoint, input, origin, https, ca, needsKey }) {
  const host = (origin.startsWith("https:") ? origin : (https ?? origin)).replace(/^https?:\/\//, "");
  return [
    "import os",
    "",
    "# This server, before the client is imported. It always speaks https.",
    `os.environ["FAL_RUN_HOST"] = ${write(`${host}/run`)}`,
    `os.environ["FAL_QUEUE_RUN_HOST"] = ${write(`${host}/queue`)}`,
    ...(needsKey ? [] : ['os.environ.setdefault("FAL_KEY", "local:local")']),
    ...(ca ? [`os.environ["SSL_CERT_FILE"] = ${write(ca)}`] : []),
    "",
    "import fal_client",
    "",
    "",
    "def on_queue_update(update):",
    "    if isinstance(update, fal_client.InProgress):",
    "        for log in update.logs:",
    '            print(log["message"])',
    "",
    "",
    "result = fal_client.subscribe(",
    `    ${write(endpoint)},`,
    `    arguments=${pythonic(input, "    ")},`,
    "    with_logs=True,",
    "    on_queue_update=on_queue_update,",
    ")",
    "print(result)",
  ].join("\n");
}

/** A value as Python writes it. @param {any} value @param {string} before @returns {string} */
function pythonic(value, before) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (typeof value !== "object") return write(value);
  const inner = `${before}    `;
  const items = Array.isArray(value)
    ? value.map((item) => pythonic(item, inner))
    : Object.entries(value).map(([name, item]) => `${write(name)}: ${pythonic(item, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (!items.length) return open + close;
  return `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${before}${close}`;
}

/** @param {Call} call */
export function javascript({ endpoint, input, origin, needsKey }) {
  return [
    'import { fal } from "@fal-ai/client";',
    "",
    "// This server: everything goes through its proxy.",
    "fal.config({",
    `  proxyUrl: { url: ${write(`${origin}/api/fal/proxy`)}, when: "always" },`,
    ...(needsKey
      ? [
          "  fetch: (url, options) =>",
          "    fetch(url, { ...options, headers: { ...options.headers, authorization: `Key ${process.env.FAL_KEY}` } }),",
        ]
      : []),
    "});",
    "",
    `const result = await fal.subscribe(${write(endpoint)}, {`,
    `  input: ${indented(write(exact(input)))},`,
    "  logs: true,",
    "  onQueueUpdate: (update) => {",
    '    if (update.status === "IN_PROGRESS") {',
    "      update.logs.map((log) => log.message).forEach(console.log);",
    "    }",
    "  },",
    "});",
    "console.log(result.data);",
    "console.log(result.requestId);",
  ].join("\n");
}

/** JavaScript has no whole numbers beyond 2^53 in JSON; the server reads them from text too. @param {any} value @returns {any} */
function exact(value) {
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return value.map(exact);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, exact(item)]));
  return value;
}

/** @param {string} text */
const indented = (text) => text.replaceAll("\n", "\n  ");
