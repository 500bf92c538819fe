// What was used, put in order: every day of a span, each key of a day, and sums.

/**
 * @typedef {import("./server.js").Day} Day
 * @typedef {"requests" | "video" | "gpu" | "cost"} Measure
 * @typedef {Record<Measure, number>} Sums
 * @typedef {{day: string, keys: Map<string, Sums>}} KeysOfDay
 */

/** @returns {Sums} */
const nothing = () => ({ requests: 0, video: 0, gpu: 0, cost: 0 });

/** @param {Sums} sums @param {Sums} more @returns {Sums} */
const plus = (sums, more) => ({
  requests: sums.requests + more.requests,
  video: sums.video + more.video,
  gpu: sums.gpu + more.gpu,
  cost: sums.cost + more.cost,
});

/** The first moment of the span of `count` days that ends with today. @param {number} count @param {Date} [now] */
export function firstOf(count, now = new Date()) {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() - count + 1);
}

/** The days of a span as `2026-01-31`, those in which nothing was made included. @param {Date} first @param {number} count */
export function calendar(first, count) {
  return Array.from({ length: count }, (_, index) => {
    const day = new Date(first.getFullYear(), first.getMonth(), first.getDate() + index);
    return [day.getFullYear(), day.getMonth() + 1, day.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
  });
}

/** @param {Day[]} days @param {string[]} wanted @returns {KeysOfDay[]} */
export function byKey(days, wanted) {
  const found = new Map(days.map(({ day, results }) => [day, results]));
  return wanted.map((day) => {
    /** @type {Map<string, Sums>} */
    const keys = new Map();
    for (const line of found.get(day) ?? []) {
      const used = { requests: line.request_count, video: line.video_seconds, gpu: line.gpu_seconds, cost: line.cost };
      keys.set(line.key, plus(keys.get(line.key) ?? nothing(), used));
    }
    return { day, keys };
  });
}

/** Of the whole span, by key, the one with most requests first: whatever is drawn, a key keeps its colour. @param {KeysOfDay[]} days */
export function totals(days) {
  /** @type {Map<string, Sums>} */
  const keys = new Map();
  for (const day of days) for (const [key, used] of day.keys) keys.set(key, plus(keys.get(key) ?? nothing(), used));
  return [...keys].sort(([one, a], [other, b]) => b.requests - a.requests || one.localeCompare(other));
}

/** @param {Iterable<Sums>} all */
export const sum = (all) => [...all].reduce(plus, nothing());
