// Looking again and again, gently: never two questions at once, none while nobody looks, fewer while none is answered.
import { useEffect, useRef } from "preact/hooks";
import { batch, useSignal } from "@preact/signals";
import { Refused } from "../server/http.js";

const WORSE = 2;

/**
 * What `load` gives, asked for anew `ms(newest)` after each answer; `refresh` asks at once. While it fails, what was
 * found before stays beside `failed`.
 * @template T
 * @param {() => Promise<T>} load @param {(found: T | null) => number} ms @param {unknown[]} [inputs] others begin anew
 */
export function usePolled(load, ms, inputs = []) {
  const found = useSignal(/** @type {T | null} */ (null));
  const failed = useSignal("");
  const again = useRef(/** @type {() => Promise<void>} */ (async () => {}));
  useEffect(() => {
    let stopped = false;
    let turn = 0;
    let timer = 0;
    const look = async () => {
      clearTimeout(timer);
      const own = (turn += 1);
      let fault = "";
      /** @type {T | null} */
      let newest = null;
      try {
        newest = await load();
      } catch (error) {
        fault = told(error);
      }
      if (stopped || own !== turn) return;
      batch(() => {
        if (!fault) found.value = newest;
        failed.value = fault;
      });
      if (!document.hidden) timer = setTimeout(look, ms(found.value) * (fault ? WORSE : 1));
    };
    const seen = () => {
      if (document.hidden) clearTimeout(timer);
      else look();
    };
    again.current = look;
    document.addEventListener("visibilitychange", seen);
    look();
    return () => {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, inputs);
  return { found, failed, refresh: () => again.current() };
}

/** @param {unknown} error */
export const told = (error) =>
  error instanceof Refused ? error.message : "The server cannot be reached. Trying again …";
