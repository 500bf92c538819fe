// What a program uses of fal's JavaScript client, and which hosts it asks.
import * as exported from "@fal-ai/client";

export const used = new Set();
export const asked = new Set();
const ownFetch = globalThis.fetch;
globalThis.fetch = (url, options) => {
  asked.add(new URL(url).origin);
  return ownFetch(url, options);
};

const NESTED = {
  queue: "QueueClient", storage: "StorageClient", streaming: "StreamingClient", realtime: "RealtimeClient",
};

/** The same object; what is taken from it is noted, under the name of its declared type. */
export function noted(type, object) {
  return new Proxy(object, {
    get(target, key) {
      const value = Reflect.get(target, key, target);
      const name = `${type}.${typeof key === "symbol" ? `[${key.description}]` : key}`;
      if (key in NESTED) return noted(NESTED[key], value);
      if (typeof value !== "function") {
        used.add(name);
        return value;
      }
      return (...given) => {
        used.add(name);
        const found = value.apply(target, given);
        return found instanceof Promise ? found.then(notedResult) : notedResult(found);
      };
    },
  });
}

function notedResult(value) {
  const type = value?.constructor?.name;
  if (type === "FalStream") return noted(type, value);
  // The realtime client gives a plain object.
  const isConnection = typeof value?.send === "function" && typeof value?.close === "function";
  return isConnection ? noted("RealtimeConnection", value) : value;
}

export const functions = new Proxy(exported, {
  get(target, key) {
    const value = target[key];
    if (typeof value !== "function" || /^class /.test(String(value))) return value;
    return (...given) => {
      used.add(key);
      return value(...given);
    };
  },
});
