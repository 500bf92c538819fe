// JSON that keeps whole numbers beyond 2^53, which seeds may be: they are BigInts here.

/** @typedef {null | boolean | number | bigint | string | Json[] | {[name: string]: Json}} Json */

/** @param {string} text @returns {any} */
export function parse(text) {
  return JSON.parse(text, /** @type {any} */ (revive));
}

/** @param {string} _ @param {unknown} value @param {{source?: string}} [context] */
function revive(_, value, context) {
  const source = context?.source;
  const lost = typeof value === "number" && !Number.isSafeInteger(value) && source && /^-?\d+$/.test(source);
  return lost ? BigInt(source) : value;
}

/** Like JSON.stringify, a BigInt as its digits. @param {unknown} value @param {number} [indent] */
export function write(value, indent = 2) {
  return written(value, indent ? " ".repeat(indent) : "", "");
}

/** @param {unknown} value @param {string} step @param {string} before @returns {string} */
function written(value, step, before) {
  if (typeof value === "bigint") return value.toString();
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const inner = before + step;
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => written(item, step, inner))
    : Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([name, item]) => `${JSON.stringify(name)}:${step && " "}${written(item, step, inner)}`);
  if (!items.length) return open + close;
  return step ? `${open}\n${inner}${items.join(`,\n${inner}`)}\n${before}${close}` : open + items.join(",") + close;
}

/** @param {unknown} one @param {unknown} other */
export const same = (one, other) => write(one, 0) === write(other, 0);
