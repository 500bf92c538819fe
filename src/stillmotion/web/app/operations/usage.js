// What each key used on each day, in four measures.
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Segmented } from "../ui/controls.js";
import { counted, duration, money, plain } from "../ui/text.js";
import { Bars, Legend, MOST_SERIES, written } from "./chart.js";
import { byKey, calendar, firstOf, sum, totals } from "./days.js";
import { Facts, None, Part, Standing } from "./parts.js";
import { usePolled } from "./polling.js";
import { usage } from "./server.js";

/** @typedef {import("./days.js").KeysOfDay} KeysOfDay @typedef {import("./days.js").Measure} Measure @typedef {import("./days.js").Sums} Sums */

const LOOK_MS = 60_000;
const SPANS = [7, 30, 90];

/** @type {{value: Measure, label: string, write: (value: number) => string}[]} */
const MEASURES = [
  { value: "requests", label: "Requests", write: (value) => plain(value) },
  { value: "video", label: "Video", write: (value) => duration(value) },
  { value: "gpu", label: "GPU time", write: (value) => duration(value) },
  { value: "cost", label: "Price", write: money },
];

export function Usage() {
  const count = useSignal(30);
  const measure = useSignal(/** @type {Measure} */ ("requests"));
  const { found, failed } = usePolled(
    async () => {
      const first = firstOf(count.value);
      const days = await usage(first, Intl.DateTimeFormat().resolvedOptions().timeZone);
      return byKey(days, calendar(first, count.value));
    },
    () => LOOK_MS,
    [count.value],
  );
  const days = found.value;
  return html`<div class="op-filters">
      <div class="op-filter">
        <span class="field-name" id="op-span">Span</span>
        <${Segmented}
          name="op-span" labelledby="op-span" value=${count.value} options=${SPANS.map((value) => ({ value, label: `${value} days` }))}
          onChange=${(/** @type {number} */ value) => (count.value = value)}
        />
      </div>
      <div class="op-filter">
        <span class="field-name" id="op-measure">Measure</span>
        <${Segmented}
          name="op-measure" labelledby="op-measure" value=${measure.value} options=${MEASURES}
          onChange=${(/** @type {Measure} */ value) => (measure.value = value)}
        />
      </div>
    </div>
    <${Standing} failed=${failed.value} loading=${!days} />
    ${days && html`<${Used} days=${days} measure=${measure.value} />`}`;
}

/** @param {{days: KeysOfDay[], measure: Measure}} props */
function Used({ days, measure }) {
  const keys = totals(days);
  const whole = sum(keys.map(([, used]) => used));
  const { write, label } = MEASURES.find(({ value }) => value === measure) ?? MEASURES[0];
  if (!whole.requests) return html`<${None}>Nothing was made in the last ${days.length} days.<//>`;
  const series = seriesOf(days, keys, measure);
  return html`<${Facts} facts=${MEASURES.map((each) => [each.value === "cost" ? "Price on fal" : each.label, each.write(whole[each.value])])} />
    <${Bars}
      least=${measure === "requests" ? 2 : 1e-6} days=${days.map(({ day }) => day)} series=${series} write=${write}
      label=${`${label} by day and key, ${written(days[0].day)} to ${written(days[days.length - 1].day)}: ${write(whole[measure])} in all, by ${counted(keys.length, "key")}. The table has the numbers.`}
    />
    <${Legend} names=${series.map(({ name }) => name)} />
    <${Part} id="op-by-key" title="By key"><${Table} id="op-by-key" first="Key" rows=${keys.map(([name, used]) => [[name], used])} whole=${whole} /><//>
    <details class="op-more">
      <summary id="op-by-day">By day and key</summary>
      <${Table} id="op-by-day" first="Day" second="Key" rows=${lines(days)} whole=${whole} />
    </details>
    <p class="op-note">
      Successes alone, by the day on which they ended in this browser's time zone. The price is what fal would charge for the
      same; nobody is charged here. GPU time is the engines' own count.
    </p>`;
}

/** The keys that used most have a colour each. @param {KeysOfDay[]} days @param {[string, Sums][]} keys @param {Measure} measure */
function seriesOf(days, keys, measure) {
  const named = keys.slice(0, keys.length > MOST_SERIES + 1 ? MOST_SERIES : keys.length).map(([name]) => name);
  const series = named.map((name) => ({ name, values: days.map(({ keys: of }) => of.get(name)?.[measure] ?? 0) }));
  const others = keys.slice(named.length).map(([name]) => name);
  if (others.length) {
    series.push({
      name: counted(others.length, "other key"),
      values: days.map(({ keys: of }) => others.reduce((value, name) => value + (of.get(name)?.[measure] ?? 0), 0)),
    });
  }
  return series;
}

/** The newest day first. @param {KeysOfDay[]} days @returns {[string[], Sums][]} */
const lines = (days) =>
  [...days].reverse().flatMap(({ day, keys }) => [...keys].map(([key, used]) => /** @type {[string[], Sums]} */ ([[day, key], used])));

/** @param {{id: string, first: string, second?: string, rows: [string[], Sums][], whole: Sums}} props */
const Table = ({ id, first, second, rows, whole }) =>
  html`<div class="op-scroll" role="region" aria-labelledby=${id} tabindex="0">
    <table>
      <thead>
        <tr>
          <th scope="col">${first}</th>${second && html`<th scope="col">${second}</th>`}
          ${MEASURES.map(({ value, label }) => html`<th scope="col" key=${value}>${label}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          ([[name, ...more], used]) => html`<tr key=${[name, ...more].join(" ")}>
            <th scope="row">${name}</th>${more.map((each) => html`<th scope="row">${each}</th>`)}
            ${MEASURES.map(({ value, write }) => html`<td key=${value} data-measure=${value}>${write(used[value])}</td>`)}
          </tr>`,
        )}
      </tbody>
      <tfoot>
        <tr><th scope="row" colspan=${second ? 2 : 1}>Together</th>${MEASURES.map(({ value, write }) => html`<td key=${value}>${write(whole[value])}</td>`)}</tr>
      </tfoot>
    </table>
  </div>`;
