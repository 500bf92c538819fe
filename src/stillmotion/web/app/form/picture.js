// A picture: dropped, pasted, picked, or a URL. Files are uploaded at once, so that the input holds a short URL that every
// sample can use too.
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button } from "../ui/controls.js";
import { Icon } from "../ui/icons.js";
import { announce } from "../ui/announce.js";
import { upload } from "../server/files.js";

const ACCEPTED = "image/png,image/jpeg,image/webp,image/gif,image/avif,image/heic,image/heif";

/** Whether the page may load it: other hosts are asked by the server alone. @param {string} url */
export function isOurs(url) {
  if (/^(data:image\/|blob:)/.test(url)) return true;
  try {
    return new URL(url, location.href).host === location.host;
  } catch {
    return false;
  }
}

/** The first picture among what was dropped or pasted. @param {DataTransfer | null} from */
export function pictureIn(from) {
  return [...(from?.files ?? [])].find((file) => file.type.startsWith("image/") || /\.(heic|heif|avif)$/i.test(file.name));
}

/** @param {import("./field.js").ControlProps} props */
export function Picture({ field, value, id, describedby, invalid, form, change }) {
  const url = value ?? "";
  const picker = useRef(/** @type {HTMLInputElement | null} */ (null));
  const busy = useSignal(false);
  const failed = useSignal("");
  const unseen = useSignal(false);
  const over = useSignal(false);

  // The server's own photographs have small copies, and their sizes are known without loading them.
  const sample = form.samples.find((each) => each.url === url);
  useEffect(() => {
    unseen.value = false;
    if (sample) form.setSize(field.name, { width: sample.width, height: sample.height });
    else if (!url || !isOurs(url)) form.setSize(field.name, null);
  }, [url]);

  const take = async (/** @type {Blob & {name?: string}} */ file) => {
    busy.value = true;
    failed.value = "";
    try {
      change(await upload(file, file.name ?? "pasted.png"));
      announce(`${field.title} uploaded`);
    } catch (error) {
      failed.value = /** @type {Error} */ (error).message;
    }
    busy.value = false;
  };
  const drop = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    over.value = false;
    const file = pictureIn(event.dataTransfer);
    const link = event.dataTransfer?.getData("text/uri-list").split("\n")[0].trim();
    if (file) take(file);
    else if (link) change(link);
  };
  const paste = (/** @type {ClipboardEvent} */ event) => {
    const file = pictureIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    event.stopPropagation();
    take(file);
  };
  const seen = url && isOurs(url) && !unseen.value;
  const size = form.sizes.value[field.name];
  return html`<div
    class="picture-well ${over.value ? "over" : ""} ${seen ? "filled" : ""}" aria-busy=${String(busy.value)}
    onDragOver=${(/** @type {DragEvent} */ event) => {
      event.preventDefault();
      over.value = true;
    }}
    onDragLeave=${() => (over.value = false)} onDrop=${drop} onPaste=${paste}
  >
    <div class="picture-view">
      ${seen
        ? html`<img
            src=${sample?.thumbnail_url ?? url} alt=${`${field.title}: preview`}
            onLoad=${(/** @type {any} */ event) =>
              !sample &&
              form.setSize(field.name, {
                width: event.currentTarget.naturalWidth,
                height: event.currentTarget.naturalHeight,
              })}
            onError=${() => {
              unseen.value = true;
              form.setSize(field.name, null);
            }}
          />`
        : html`<p class="picture-none">
            <${Icon} name="picture" />
            ${url ? "No preview: the server fetches this picture." : "Drop or paste a picture"}
          </p>`}
      ${busy.value && html`<p class="picture-busy">Uploading …</p>`}
    </div>
    <div class="picture-bar">
      <input
        type="file" accept=${ACCEPTED} class="visually-hidden" tabindex="-1" aria-hidden="true" ref=${picker}
        onChange=${(/** @type {any} */ event) => {
          const file = event.currentTarget.files[0];
          if (file) take(file);
          event.currentTarget.value = "";
        }}
      />
      <${Button} label="Choose a file" kind="small" onClick=${() => picker.current?.click()} />
      ${size && html`<span class="picture-size">${size.width} × ${size.height}</span>`}
      ${url && !field.required && html`<${Button} icon="close" quiet kind="ghost small" label=${`Remove ${field.title}`} onClick=${() => form.reset(field.name)} />`}
    </div>
    <input
      type="url" id=${id} class="picture-url" value=${url.startsWith("data:") ? "" : url} spellcheck=${false}
      placeholder=${url.startsWith("data:") ? "A picture inside the request" : "or paste a URL"}
      autocomplete="off" aria-label=${`${field.title}: URL`} aria-describedby=${describedby}
      aria-invalid=${String(invalid)} aria-required=${String(field.required)}
      onInput=${(/** @type {any} */ event) => change(event.currentTarget.value.trim() || undefined)}
    />
    ${failed.value && html`<p class="faults" role="alert">${failed.value}</p>`}
  </div>`;
}
