// Numbers and times as people read them.

/** @param {number} value @param {number} [digits] most digits after the point */
export const plain = (value, digits = 2) =>
  value.toLocaleString("en-US", { maximumFractionDigits: digits, useGrouping: value >= 10000 });

/** Dollars with as many places as the price has, four at most. @param {number} value */
export const money = (value) =>
  "$" + value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: value < 1 ? 4 : 2 });

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 0.95) return `${Math.max(seconds, 0).toFixed(1)} s`;
  if (seconds < 60) return `${plain(seconds, seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @param {number} count */
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${plain(count / 1e3, 0)} kB`;
  return `${plain(count / 1e6, 1)} MB`;
}

/** "just now", "5 min ago", or the date. @param {string} iso @param {number} [now] milliseconds */
export function ago(iso, now = Date.now()) {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(iso).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

/** @param {number} count @param {string} one */
export const counted = (count, one) => `${plain(count)} ${one}${count === 1 ? "" : "s"}`;

/** `dolly_in` as `Dolly in`; words that hold more than that are left alone. @param {unknown} value */
export function label(value) {
  const text = String(value);
  if (!/^[a-z][a-z0-9_]*$/.test(text)) return text;
  const words = text.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}
