// The key, for as long as the tab lives; the colours, for good.
import { effect, signal } from "@preact/signals";

const KEY = "stillmotion.key";
const THEME = "stillmotion.theme";

export const key = signal(sessionStorage.getItem(KEY) ?? "");
/** True once the server has asked for a key, or did not take the one that was sent. */
export const keyWanted = signal(false);
/** "light", "dark", or "" for what the system has. */
export const theme = signal(localStorage.getItem(THEME) ?? "");

effect(() => {
  if (key.value) sessionStorage.setItem(KEY, key.value);
  else sessionStorage.removeItem(KEY);
});

effect(() => {
  if (theme.value) {
    document.documentElement.dataset.theme = theme.value;
    localStorage.setItem(THEME, theme.value);
  } else {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem(THEME);
  }
});

export const isDark = () =>
  theme.value ? theme.value === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
