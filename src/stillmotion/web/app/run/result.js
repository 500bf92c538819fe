// What came of a run: the video, the facts about it, and what to do with it next.
import { useEffect } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button, CopyButton, Notice } from "../ui/controls.js";
import { announce } from "../ui/announce.js";
import { bytes, duration, money, plain } from "../ui/text.js";
import { write } from "../ui/json.js";
import { playable } from "../server/platform.js";
import { upload } from "../server/files.js";
import { CompareLink } from "../compare/compare.js";
import { Player } from "./player.js";
import { PromptDiff } from "./prompt_diff.js";
import { runs } from "./runs.js";

/** @typedef {import("./runs.js").Run} Run @typedef {import("../form/state.js").Form} Form */

const PLAYABLE = /^video\/(mp4|webm)/;

/** @param {{run: Run, form: Form, onRun: () => void}} props */
export function Result({ run, form, onRun }) {
  const { output } = run;
  const video = output.value.video;
  const type = video.content_type ?? "video/mp4";
  const plays = PLAYABLE.test(type);
  const copyUrl = useSignal(/** @type {string | null} */ (null));
  const failed = useSignal("");
  const player = useSignal(/** @type {import("./player.js").Handle | null} */ (null));
  const source = plays ? video.url : copyUrl.value;

  useEffect(() => {
    if (plays) return;
    playable(run.id).then(
      (url) => (copyUrl.value = url),
      (error) => (failed.value = error.message),
    );
  }, [run.id]);

  const facts = factsOf(run, player.value);
  return html`<div class="result">
    ${source
      ? html`<${Player}
          url=${source} begin=${run.fresh} poster=${run.account.value?.poster_url ?? undefined} fps=${facts.fps} onReady=${(/** @type {any} */ handle) => (player.value = handle)}
        />`
      : type === "image/gif"
        ? html`<div class="stage"><img class="gif" src=${video.url} alt="The generated video" /></div>`
        : html`<div class="stage working"><div class="working-words"><p class="headline">${failed.value ? "No preview" : "Preparing a preview"}</p>
            <p class="working-detail">${failed.value || "This browser does not play ProRes; an H.264 copy is being made."}</p></div></div>`}
    ${!plays && source && html`<p class="help preview-note">You see an H.264 copy. The download is the ${kindOf(type)} itself.</p>`}
    <dl class="facts">
      ${facts.shown.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
    <${PromptDiff} given=${run.input?.prompt} used=${output.value.prompt} />
    <div class="actions">
      <a class="button primary" href=${video.url} download=${video.file_name ?? ""}>Download ${kindOf(type)}</a>
      <${Button} icon="reset" label="Run again" onClick=${() => again(run, form, onRun)} />
      ${output.value.seed !== undefined &&
      html`<${Button} icon="seed" label="Same seed, change one thing" onClick=${() => sameSeed(run, form)} />`}
      ${source && html`<${Button} icon="picture" label="Use last frame as start" onClick=${() => lastFrame(player.value, form, failed)} />`}
      ${source && html`<${Compare} run=${run} />`}
      <${CopyButton} label="Copy link" icon="link" text=${() => video.url} />
      <${CopyButton} label="Copy JSON" text=${() => write(output.value)} />
    </div>
    ${failed.value && source && html`<${Notice}>${failed.value}<//>`}
  </div>`;
}

/** With the result before this one, where there is one; else the page asks which. @param {{run: Run}} props */
function Compare({ run }) {
  const all = runs.value;
  const before = all.slice(all.indexOf(run) + 1).find((other) => other.phase.value === "done");
  return before
    ? html`<${CompareLink} a=${before.id} b=${run.id} label="Compare with previous" />`
    : html`<${CompareLink} a=${run.id} label="Compare with …" />`;
}

/** @param {string} type */
const kindOf = (type) => ({ "video/mp4": "MP4", "video/webm": "WebM", "video/quicktime": "ProRes", "image/gif": "GIF" })[type] ?? "file";

/** Facts as the output tells them, else as the platform does, else as the player sees them. @param {Run} run
 * @param {import("./player.js").Handle | null} player */
function factsOf(run, player) {
  const { value: output } = run.output;
  const { value: account } = run.account;
  const video = output.video;
  const width = video.width ?? account?.width ?? player?.width;
  const height = video.height ?? account?.height ?? player?.height;
  const frames = video.num_frames ?? account?.num_frames;
  const fps = video.fps ?? account?.fps;
  const seconds = video.duration ?? account?.duration ?? player?.seconds;
  /** @type {[string, unknown][]} */
  const all = [
    ["Size", width && `${width} × ${height}`],
    ["Frames", frames && plain(frames, 0)],
    ["Rate", fps && `${plain(fps, 3)} fps`],
    ["Length", seconds && `${plain(seconds)} s`],
    ["Seed", output.seed !== undefined && html`<code>${String(output.seed)}</code>`],
    ["Cost on fal", account && (account.cost ? money(account.cost) : "not priced")],
    ["GPU time", account && (account.gpu_seconds === null ? null : duration(account.gpu_seconds))],
    ["File", video.file_size && bytes(video.file_size)],
    ["Model", account?.model],
  ];
  return { fps: fps ?? 25, shown: all.filter(([, value]) => value) };
}

/** @param {Run} run @param {Form} form @param {() => void} onRun */
function again(run, form, onRun) {
  if (run.input) form.replace(run.input);
  onRun();
}

/** @param {Run} run @param {Form} form */
function sameSeed(run, form) {
  form.replace({ ...(run.input ?? form.input.value), seed: run.output.value.seed });
  announce("The form has the same input and seed; change one thing and run");
  document.getElementById("field-prompt")?.focus();
}

/** @param {import("./player.js").Handle | null} player @param {Form} form @param {import("@preact/signals").Signal<string>} failed */
async function lastFrame(player, form, failed) {
  const field = form.fields.find((each) => each.kind === "picture");
  if (!player || !field) return;
  failed.value = "";
  try {
    form.set(field.name, await upload(await player.lastFrame(), "last-frame.png"));
    announce("The last frame is the start frame now");
    document.getElementById(`field-${field.name}`)?.focus();
  } catch (error) {
    failed.value = /** @type {Error} */ (error).message;
  }
}
