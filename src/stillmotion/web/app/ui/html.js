// Markup as tagged templates: htm over Preact's h.
import { h } from "preact";
import htm from "htm";

export const html = htm.bind(h);
