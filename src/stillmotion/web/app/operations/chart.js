// Bars for days, stacked by key. The drawing is one picture with one sentence; the numbers stand in the table below it.
import { html } from "../ui/html.js";

/** Keys with a colour of their own; the others share one. */
export const MOST_SERIES = 5;
const BAR = 10;
const GAP = 2;

/**
 * @param {{days: string[], series: {name: string, values: number[]}[], write: (value: number) => string,
 *   label: string, least: number}} props `values`: one for each day; `least`: the axis goes up to there at least
 */
export function Bars({ days, series, write, label, least }) {
  const sums = days.map((_, day) => series.reduce((sum, each) => sum + each.values[day], 0));
  const top = roundUp(Math.max(...sums, least));
  return html`<figure class="op-chart">
    <div class="op-axis" aria-hidden="true"><span>${write(top)}</span><span>${write(top / 2)}</span><span>0</span></div>
    <svg class="op-bars" viewBox=${`0 0 ${days.length * BAR} 100`} preserveAspectRatio="none" role="img" aria-label=${label}>
      ${days.map(
        (day, index) => html`<g key=${day} data-day=${day}>
          <title>${[`${written(day)}: ${write(sums[index])}`, ...series.filter((each) => each.values[index]).map((each) => `${each.name}: ${write(each.values[index])}`)].join("\n")}</title>
          <rect class="op-hit" x=${index * BAR} y="0" width=${BAR} height="100" />
          ${stacked(series, index, top).map((part) => html`<rect class=${`series-${part.of}`} x=${index * BAR + GAP / 2} y=${part.y} width=${BAR - GAP} height=${part.height} />`)}
        </g>`,
      )}
    </svg>
    <div class="op-days" aria-hidden="true">${[days[0], days[(days.length - 1) >> 1], days[days.length - 1]].map((day) => html`<span key=${day}>${written(day)}</span>`)}</div>
  </figure>`;
}

/** @param {{names: string[]}} props */
export const Legend = ({ names }) =>
  html`<ul class="op-legend">
    ${names.map((name, index) => html`<li key=${name}><span class=${`op-swatch series-${index}`} aria-hidden="true"></span>${name}</li>`)}
  </ul>`;

/** From the bottom up, in hundredths of the height. @param {{values: number[]}[]} series @param {number} day @param {number} top */
function stacked(series, day, top) {
  let floor = 100;
  return series.flatMap(({ values }, of) => {
    const height = (100 * values[day]) / top;
    floor -= height;
    return height > 0 ? [{ of, y: floor.toFixed(3), height: height.toFixed(3) }] : [];
  });
}

/** The next of 1, 2, 4, 6, 8, 10, 20, …, whose half is as good a number. @param {number} value */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= value - 1e-9) ?? value;
}

/** @param {string} day */
export const written = (day) =>
  new Date(`${day}T00:00:00Z`).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
