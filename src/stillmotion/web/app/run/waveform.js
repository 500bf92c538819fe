// The sound of a clip as a picture of its loudness; nothing where there is none.
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { html } from "../ui/html.js";

const BARS = 160;
/** Larger files are not read a second time for a picture. */
const MOST_BYTES = 80_000_000;
const RATE = 8000;

/** @param {{url: string, at: number, onKnown: (has: boolean) => void}} props */
export function Waveform({ url, at, onKnown }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const peaks = useSignal(/** @type {Float32Array | null} */ (null));

  useEffect(() => {
    const stop = new AbortController();
    read(url, stop.signal).then(
      (found) => {
        peaks.value = found;
        onKnown(true);
      },
      () => !stop.signal.aborted && onKnown(false),
    );
    return () => stop.abort();
  }, [url]);

  useEffect(() => {
    if (canvas.current && peaks.value) draw(canvas.current, peaks.value, at);
  });
  return html`<canvas ref=${canvas} class="waveform" width="960" height="72" aria-hidden="true" hidden=${!peaks.value}></canvas>`;
}

/** Loudness of each of BARS parts, 0 to 1; raises where there is no sound. @param {string} url @param {AbortSignal} signal */
async function read(url, signal) {
  const answer = await fetch(url, { signal });
  if (Number(answer.headers.get("content-length")) > MOST_BYTES) throw new Error("too large");
  // A context that is not for playing needs no permission to start.
  const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await answer.arrayBuffer());
  const samples = sound.getChannelData(0);
  const each = Math.max(1, Math.floor(samples.length / BARS));
  const peaks = Float32Array.from({ length: BARS }, (_, bar) => {
    let most = 0;
    for (let at = bar * each; at < Math.min((bar + 1) * each, samples.length); at += 1) most = Math.max(most, Math.abs(samples[at]));
    return most;
  });
  const loudest = Math.max(...peaks, 0.05);
  return peaks.map((peak) => peak / loudest);
}

/** @param {HTMLCanvasElement} canvas @param {Float32Array} peaks @param {number} at */
function draw(canvas, peaks, at) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const style = getComputedStyle(canvas);
  const width = canvas.width / peaks.length;
  context.clearRect(0, 0, canvas.width, canvas.height);
  peaks.forEach((peak, bar) => {
    const height = Math.max(2, peak * (canvas.height - 4));
    context.fillStyle = style.getPropertyValue(bar / peaks.length < at ? "--accent" : "--line-strong");
    context.fillRect(bar * width, (canvas.height - height) / 2, Math.max(1, width - 2), height);
  });
}
