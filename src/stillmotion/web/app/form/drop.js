// A video that was made here brings its settings back: dropped on the form, or chosen.
import { useEffect, useRef } from "preact/hooks";
import { batch, useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button, Notice } from "../ui/controls.js";
import { announce } from "../ui/announce.js";
import { parse, write } from "../ui/json.js";
import { embedded } from "../server/files.js";
import { stored } from "./state.js";

/**
 * @typedef {import("./state.js").Form} Form
 * @typedef {Record<string, any>} Input
 * @typedef {{name: string, missing: string[], before: Input | null}} Restored `before`: what the form held, for undo
 */

const ACCEPTED = "video/mp4,video/webm,video/quicktime,image/gif,.mp4,.webm,.mov,.gif";
/** What a page that is gone to learns from the one that was left. */
const ARRIVAL = "stillmotion.restored";

/** @param {string} type @param {string} [name] */
const isVideo = (type, name = "") => /^(video\/|image\/gif)/.test(type) || /\.(mp4|m4v|webm|mov|gif)$/i.test(name);

/** @param {Form} form */
export function useVideoDrop(form) {
  const over = useSignal(false);
  const busy = useSignal(false);
  const failed = useSignal("");
  const restored = useSignal(/** @type {Restored | null} */ (null));

  useEffect(() => {
    restored.value = arrival(form);
  }, [form]);

  const take = async (/** @type {File} */ file) => {
    batch(() => {
      busy.value = true;
      failed.value = "";
      restored.value = null;
    });
    try {
      const found = await embedded(file);
      if (!found.served) throw new Error(`was made with ${found.endpoint_id}, which this server does not have.`);
      if (found.endpoint_id !== form.endpoint) return leave(found.endpoint_id, found.input, file.name);
      const before = form.input.value;
      form.replace(found.input);
      restored.value = { name: file.name, missing: missingIn(form), before };
      announce(`The form has the settings of ${file.name}`);
    } catch (error) {
      failed.value = `${file.name} ${told(/** @type {Error} */ (error).message)}`;
    } finally {
      busy.value = false;
    }
  };

  const drag = (/** @type {DragEvent} */ event) => {
    if (![...(event.dataTransfer?.items ?? [])].some((each) => each.kind === "file" && (!each.type || isVideo(each.type)))) return;
    event.preventDefault();
    over.value = true;
  };
  const handlers = {
    onDragEnter: drag,
    onDragOver: drag,
    onDragLeave: (/** @type {any} */ event) => {
      // Into a part of the form is not out of it.
      if (!event.currentTarget.contains(event.relatedTarget)) over.value = false;
    },
    onDrop: (/** @type {DragEvent} */ event) => {
      over.value = false;
      const [file] = event.dataTransfer?.files ?? [];
      // A picture's own field has taken it; a video that falls on one is for the form.
      if (!file || (event.defaultPrevented && !file.type.startsWith("video/"))) return;
      event.preventDefault();
      take(file);
    },
  };
  return { over, busy, failed, restored, take, handlers };
}

/** @typedef {ReturnType<typeof useVideoDrop>} VideoDrop */

/** @param {{drop: VideoDrop}} props */
export function FromVideo({ drop }) {
  const picker = useRef(/** @type {HTMLInputElement | null} */ (null));
  return html`<input
      type="file" accept=${ACCEPTED} class="visually-hidden from-video" tabindex="-1" aria-hidden="true" ref=${picker}
      onChange=${(/** @type {any} */ event) => {
        const [file] = event.currentTarget.files;
        if (file) drop.take(file);
        event.currentTarget.value = "";
      }}
    />
    <${Button}
      icon="film" kind="ghost small" label=${drop.busy.value ? "Reading …" : "From a video"} disabled=${drop.busy.value}
      title="Restores the settings from a video that was made here; dropping it on the form does the same"
      onClick=${() => picker.current?.click()}
    />`;
}

/** @param {{drop: VideoDrop, form: Form}} props */
export function DropNotes({ drop, form }) {
  const restored = drop.restored.value;
  const undo = () => {
    if (restored?.before) form.replace(restored.before);
    else form.resetAll();
    drop.restored.value = null;
    announce("The form is as it was before");
  };
  return html`${drop.over.value && html`<p class="drop-here" aria-hidden="true">Drop the video: the form gets its settings</p>`}
    ${drop.failed.value &&
    html`<${Notice} action=${html`<${Button} kind="small" label="Dismiss" onClick=${() => (drop.failed.value = "")} />`}>${drop.failed.value}<//>`}
    ${restored &&
    html`<div class="restored" role="status">
      <p>
        Settings of <strong>${restored.name}</strong>.
        ${restored.missing.length > 0 && html` Not in the file, because it was inside the request: ${restored.missing.join(", ")}.`}
      </p>
      <${Button} kind="small" label="Undo" onClick=${undo} />
      <${Button} kind="ghost small" quiet icon="close" label="Close this note" onClick=${() => (drop.restored.value = null)} />
    </div>`}`;
}

/** What has to be given again: data URIs are not written into files. @param {Form} form */
const missingIn = (form) =>
  form.fields.filter((field) => field.required && !form.isSet(field)).map((field) => field.title);

/** The page of another endpoint takes its input from where it keeps it. @param {string} endpoint @param {Input} input @param {string} name */
function leave(endpoint, input, name) {
  const before = sessionStorage.getItem(stored(endpoint));
  sessionStorage.setItem(stored(endpoint), write(input, 0));
  sessionStorage.setItem(ARRIVAL, write({ endpoint, name, before: before && parse(before) }, 0));
  location.assign(`/models/${endpoint}`);
}

/** @param {Form} form @returns {Restored | null} */
function arrival(form) {
  const { endpoint, name, before } = parse(sessionStorage.getItem(ARRIVAL) ?? "{}");
  if (endpoint !== form.endpoint) return null;
  sessionStorage.removeItem(ARRIVAL);
  return { name, missing: missingIn(form), before };
}

/** @param {string} message */
function told(message) {
  if (/does not say how/.test(message)) return "holds no settings: it was not made here, or made without them.";
  if (/is no MP4/.test(message)) return "is no video that settings can be read from (MP4, WebM, MOV or GIF).";
  return /^was made/.test(message) ? message : `could not be read: ${message}`;
}
