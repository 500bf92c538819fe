// The prompt that was used, and where it differs from the one that was given.
import { html } from "../ui/html.js";

/** @typedef {{words: string, kind: "same" | "added" | "removed"}} Piece */

/** Words that many a prompt has; beyond that both are shown whole. */
const MOST_WORDS = 900;

/** @param {{given?: string, used?: string}} props */
export function PromptDiff({ given, used }) {
  if (!used) return null;
  const expanded = given !== undefined && given.trim() !== used.trim();
  return html`<details class="final-prompt" open=${expanded}>
    <summary><span>Final prompt</span><span class="count">${expanded ? "expanded" : "as given"}</span></summary>
    <p>
      ${expanded
        ? difference(given, used).map((piece) =>
            piece.kind === "same"
              ? html`${piece.words} `
              : piece.kind === "added"
                ? html`<ins>${piece.words}</ins> `
                : html`<del>${piece.words}</del> `,
          )
        : used}
    </p>
  </details>`;
}

/** The longest words in common stay; runs of one kind are one piece. @param {string} before @param {string} after @returns {Piece[]} */
export function difference(before, after) {
  const [old, now] = [before, after].map((text) => text.split(/\s+/).filter(Boolean));
  if (old.length > MOST_WORDS || now.length > MOST_WORDS) {
    return [
      { words: before, kind: "removed" },
      { words: after, kind: "added" },
    ];
  }
  const common = lengths(old, now);
  /** @type {Piece[]} */
  const pieces = [];
  const add = (/** @type {string} */ word, /** @type {Piece["kind"]} */ kind) => {
    const last = pieces.at(-1);
    if (last?.kind === kind) last.words += ` ${word}`;
    else pieces.push({ words: word, kind });
  };
  let [i, j] = [0, 0];
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      add(old[i], "same");
      i += 1;
      j += 1;
    } else if (j < now.length && (i === old.length || common[i][j + 1] > common[i + 1][j])) add(now[j++], "added");
    else add(old[i++], "removed");
  }
  return pieces;
}

/** `[i][j]`: how many words the ends from i and from j have in common. @param {string[]} old @param {string[]} now */
function lengths(old, now) {
  const table = Array.from({ length: old.length + 1 }, () => new Uint16Array(now.length + 1));
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = now.length - 1; j >= 0; j -= 1) {
      table[i][j] = old[i] === now[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  return table;
}
