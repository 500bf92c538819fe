// A player for short clips: it loops, steps by frames, and shows the sound under the picture.
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";
import { Button } from "../ui/controls.js";
import { Waveform } from "./waveform.js";

/**
 * @typedef {{width: number, height: number, seconds: number, lastFrame: () => Promise<Blob>}} Handle
 */

/** `begin`: it plays at once, unless motion is not wanted. @param {{url: string, begin: boolean, poster?: string, fps: number, onReady: (handle: Handle) => void}} props */
export function Player({ url, begin, poster, fps, onReady }) {
  const video = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  const playing = useSignal(false);
  const loop = useSignal(true);
  const muted = useSignal(false);
  const time = useSignal(0);
  const length = useSignal(0);
  const sound = useSignal(/** @type {boolean | null} */ (null));
  const failed = useSignal(false);

  useEffect(() => {
    if (!playing.value) return undefined;
    let request = requestAnimationFrame(function tick() {
      time.value = video.current?.currentTime ?? 0;
      request = requestAnimationFrame(tick);
    });
    return () => cancelAnimationFrame(request);
  }, [playing.value]);

  const toggle = () => (video.current?.paused ? video.current.play() : video.current?.pause());
  const seek = (/** @type {number} */ seconds) => {
    // The element's own length: a key may come before the page has heard of it.
    const end = video.current?.duration;
    if (!video.current || !end) return;
    video.current.currentTime = Math.min(Math.max(seconds, 0), Math.max(0, end - 0.5 / fps));
    time.value = video.current.currentTime;
  };
  // The middle of a frame's time, so that rounding never shows its neighbour.
  const step = (/** @type {number} */ count) => {
    video.current?.pause();
    seek((Math.floor((video.current?.currentTime ?? 0) * fps + 1e-3) + count + 0.5) / fps);
  };
  const ready = () => {
    const element = video.current;
    if (!element) return;
    length.value = element.duration;
    if (begin && !matchMedia("(prefers-reduced-motion: reduce)").matches) element.play().catch(() => {});
    onReady({ width: element.videoWidth, height: element.videoHeight, seconds: element.duration, lastFrame: () => lastFrame(element, fps) });
  };
  const keys = (/** @type {KeyboardEvent} */ event) => {
    if (event.target instanceof HTMLButtonElement && (event.key === " " || event.key === "Enter")) return;
    if (event.target instanceof HTMLInputElement && event.key.startsWith("Arrow")) return;
    const act = {
      " ": toggle,
      k: toggle,
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      ",": () => step(-1),
      ".": () => step(1),
      l: () => (loop.value = !loop.value),
      m: () => (muted.value = !muted.value),
      f: () => full(frame.current),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    act();
  };
  const at = Math.min(Math.floor(time.value * fps + 1e-3), Math.max(0, Math.round(length.value * fps) - 1));
  return html`<div class="player" ref=${frame} role="group" aria-label="Video" onKeyDown=${keys}>
    <video
      ref=${video} src=${url} poster=${poster} playsinline preload="auto" loop=${loop.value} muted=${muted.value}
      tabindex="0" aria-label="The generated video" onLoadedMetadata=${ready} onClick=${toggle}
      onPlay=${() => (playing.value = true)} onPause=${() => (playing.value = false)} onError=${() => (failed.value = true)}
      onSeeked=${() => (time.value = video.current?.currentTime ?? 0)}
    />
    ${failed.value && html`<p class="faults" role="alert">This browser cannot play the file. The download is complete.</p>`}
    <div class="track">
      <${Waveform} url=${url} onKnown=${(/** @type {boolean} */ has) => (sound.value = has)} at=${length.value ? time.value / length.value : 0} />
      <input
        type="range" min="0" max=${length.value || 1} step=${1 / fps} value=${time.value} aria-label="Position"
        aria-valuetext=${`${time.value.toFixed(2)} seconds, frame ${at + 1}`}
        onInput=${(/** @type {any} */ event) => seek(Number(event.currentTarget.value))}
      />
    </div>
    <div class="transport">
      <${Button} quiet kind="ghost" icon="back" label="One frame back" onClick=${() => step(-1)} />
      <${Button} quiet kind="ghost" icon=${playing.value ? "pause" : "play"} label=${playing.value ? "Pause" : "Play"} onClick=${toggle} />
      <${Button} quiet kind="ghost" icon="forward" label="One frame on" onClick=${() => step(1)} />
      <span class="clock"><span>${time.value.toFixed(2)}</span> / ${length.value.toFixed(2)} s <span class="clock-frame">frame ${at + 1}</span></span>
      <${Button} quiet kind="ghost" icon="loop" label="Loop" pressed=${loop.value} onClick=${() => (loop.value = !loop.value)} />
      ${sound.value !== false &&
      html`<${Button} quiet kind="ghost" icon=${muted.value ? "mute" : "sound"} label="Mute" pressed=${muted.value} onClick=${() => (muted.value = !muted.value)} />`}
      <${Button} quiet kind="ghost" icon="full" label="Full screen" onClick=${() => full(frame.current)} />
    </div>
  </div>`;
}

/** @param {HTMLElement | null} element */
const full = (element) => (document.fullscreenElement ? document.exitFullscreen() : element?.requestFullscreen());

/** @param {HTMLVideoElement} element @param {number} fps @returns {Promise<Blob>} */
async function lastFrame(element, fps) {
  element.pause();
  const there = new Promise((done) => element.addEventListener("seeked", done, { once: true }));
  element.currentTime = Math.max(0, element.duration - 0.5 / fps);
  await there;
  const canvas = document.createElement("canvas");
  canvas.width = element.videoWidth;
  canvas.height = element.videoHeight;
  canvas.getContext("2d")?.drawImage(element, 0, 0);
  return new Promise((done, fail) =>
    canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("The frame could not be read."))), "image/png"),
  );
}
