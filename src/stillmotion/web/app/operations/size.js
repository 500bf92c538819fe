// Sizes up to those of models.
import { bytes, plain } from "../ui/text.js";

/** @param {number} count bytes */
export const size = (count) =>
  count >= 1e12 ? `${plain(count / 1e12, 2)} TB` : count >= 1e9 ? `${plain(count / 1e9, 1)} GB` : bytes(count);
