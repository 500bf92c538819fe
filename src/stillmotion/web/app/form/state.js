// The input of one endpoint: one object, which the form and the JSON are two views of. It holds what was set and nothing
// else, so a default that changes on the server changes here too.
import { batch, computed, effect, signal } from "@preact/signals";
import { estimate } from "../server/platform.js";
import { Refused } from "../server/http.js";
import { parse, same, write } from "../ui/json.js";

/**
 * @typedef {import("./schema.js").Field} Field
 * @typedef {import("../server/platform.js").Fault} Fault
 * @typedef {import("../server/platform.js").Estimate} Estimate
 * @typedef {Record<string, any>} Input
 * @typedef {{width: number, height: number}} Size
 * @typedef {ReturnType<typeof createForm>} Form
 * @typedef {import("../server/platform.js").Sample} Sample
 */

const SETTLED_MS = 180;

/** Where this tab keeps the input of an endpoint. @param {string} endpoint */
export const stored = (endpoint) => `stillmotion.form.${endpoint}`;

/** @param {string} endpoint @param {Field[]} fields @param {Input} initial @param {Sample[]} samples photographs of the server's own */
export function createForm(endpoint, fields, initial, samples) {
  const place = stored(endpoint);
  const input = signal(/** @type {Input} */ (restored(place) ?? initial));
  /** Text of the JSON view while it is not what the input says: unfinished, or wrong. */
  const draft = signal(/** @type {string | null} */ (null));
  /** The API's own words about the input that was sent last. */
  const faults = signal(/** @type {Fault[]} */ ([]));
  const sizes = signal(/** @type {Record<string, Size>} */ ({}));
  const figures = signal(/** @type {Estimate | null} */ (null));

  const text = computed(() => draft.value ?? write(input.value));
  const textFault = computed(() => (draft.value === null ? "" : faultIn(draft.value)));

  /** @param {Input} next */
  const replace = (next) =>
    batch(() => {
      const changed = Object.keys({ ...input.value, ...next }).filter((name) => !same(input.value[name], next[name]));
      faults.value = faults.value.filter((fault) => !changed.includes(String(fault.loc[1])));
      input.value = next;
      draft.value = null;
    });

  effect(() => keep(place, input.value));
  effect(() => ask(endpoint, input.value, sizes.value.image_url, (told) => (figures.value = told)));

  return {
    endpoint,
    fields,
    samples,
    input,
    faults,
    sizes,
    figures,
    text,
    textFault,
    replace,
    /** What a field shows: what was set, else its default. @param {Field} field */
    shown: (field) => (field.name in input.value ? input.value[field.name] : field.default),
    /** @param {Field} field */
    isSet: (field) => field.name in input.value,
    /** @param {string} name @param {any} value */
    set: (name, value) => replace(value === undefined ? without(input.value, name) : { ...input.value, [name]: value }),
    /** @param {string} name */
    reset: (name) => replace(without(input.value, name)),
    resetAll: () => replace(initial),
    /** @param {string} written */
    setText: (written) => {
      draft.value = written;
      if (faultIn(written)) return;
      const next = parse(written);
      batch(() => {
        replace(next);
        // The text stays as it is being written: spaces are the writer's own.
        draft.value = written;
      });
    },
    tidyText: () => {
      if (!textFault.value) draft.value = null;
    },
    /** @param {string} name @param {Size | null} size */
    setSize: (name, size) => {
      const known = sizes.value[name];
      if (known?.width === size?.width && known?.height === size?.height) return;
      const { [name]: _, ...others } = sizes.value;
      sizes.value = size ? { ...others, [name]: size } : others;
    },
    /** The faults at a field or below it, and those that no field of the form has. @param {string | null} name */
    faultsAt: (name) =>
      faults.value.filter((fault) =>
        name === null ? !fields.some((field) => field.name === fault.loc[1]) : fault.loc[1] === name,
      ),
  };
}

/** @param {Input} input @param {string} name */
const without = (input, name) => Object.fromEntries(Object.entries(input).filter(([other]) => other !== name));

/** @param {string} text */
function faultIn(text) {
  try {
    const value = parse(text);
    return value && typeof value === "object" && !Array.isArray(value) ? "" : "The input is an object: { … }";
  } catch (error) {
    return /** @type {Error} */ (error).message;
  }
}

/** Asks once nothing has changed for a moment; answers that come too late are dropped. @param {string} endpoint
 * @param {Input} input @param {Size | undefined} size @param {(told: Estimate | null) => void} tell */
function ask(endpoint, input, size, tell) {
  const stop = new AbortController();
  const timer = setTimeout(async () => {
    try {
      tell(await estimate(endpoint, input, size, stop.signal));
    } catch (error) {
      if (!stop.signal.aborted && !(error instanceof Refused && error.status === 401)) tell(null);
    }
  }, SETTLED_MS);
  return () => {
    clearTimeout(timer);
    stop.abort();
  };
}

/** @param {string} name @returns {Input | null} */
function restored(name) {
  try {
    const text = sessionStorage.getItem(name);
    return text && parse(text);
  } catch {
    return null;
  }
}

/** Of this tab, and only what fits: a picture as a data URI may not. @param {string} name @param {Input} input */
function keep(name, input) {
  try {
    sessionStorage.setItem(name, write(input, 0));
  } catch {
    sessionStorage.removeItem(name);
  }
}
