// Two videos under one clock. The longer one leads while they play; the other one is kept beside it, and holds its last
// frame once it is over.
import { signal } from "@preact/signals";

/** @typedef {{frames: number | null, fps: number | null}} Clip as the server tells it; what it does not, the file does */

const FPS = 25;
/** Seconds. Less is no drift, more is made up by a jump; what lies between by playing faster or slower. */
const CLOSE = 0.01;
const FAR = 0.25;

/** @param {Clip[]} clips two @returns the clock and what moves it; times are in seconds */
export function createTransport(clips) {
  const elements = /** @type {(HTMLVideoElement | null)[]} */ ([null, null]);
  const rates = clips.map((clip) => clip.fps ?? FPS);
  /** Of the finer one: a step shows every picture of both. */
  const fps = Math.max(...rates);
  const lengths = [0, 0];
  const time = signal(0);
  const length = signal(0);
  const playing = signal(false);
  const loop = signal(true);
  const speed = signal(1);
  /** Whose sound is heard: 0, 1, or -1 for neither's. */
  const heard = signal(-1);
  let frame = 0;

  const total = () => Math.max(1, Math.round(length.value * fps));
  /** Which picture a time shows, from 0. */
  const at = () => Math.min(Math.floor(time.value * fps + 1e-3), total() - 1);
  /** @param {number} which */
  const last = (which) => Math.max(0, lengths[which] - 0.5 / rates[which]);
  const each = (/** @type {(element: HTMLVideoElement, which: number) => void} */ act) =>
    elements.forEach((element, which) => element && act(element, which));

  /** @param {number} seconds */
  const seek = (seconds) => {
    time.value = Math.min(Math.max(seconds, 0), Math.max(0, length.value - 0.5 / fps));
    each((element, which) => {
      element.currentTime = Math.min(time.value, last(which));
    });
  };
  // The middle of a picture's time, so that rounding never shows its neighbour.
  const show = (/** @type {number} */ index) => seek((Math.min(Math.max(index, 0), total() - 1) + 0.5) / fps);

  const pause = () => {
    cancelAnimationFrame(frame);
    playing.value = false;
    each((element) => element.pause());
    if (length.value) show(at());
  };
  const play = () => {
    if (!length.value) return;
    if (at() >= total() - 1) seek(0);
    playing.value = true;
    each((element, which) => {
      element.playbackRate = speed.value;
      if (time.value < last(which)) start(element);
    });
    frame = requestAnimationFrame(tick);
  };

  function tick() {
    const lead = lengths[1] > lengths[0] ? 1 : 0;
    const leader = elements[lead];
    if (!leader || !playing.value) return;
    if (leader.ended || leader.currentTime >= length.value) {
      if (!loop.value) return pause();
      seek(0);
      each(start);
    } else {
      time.value = leader.currentTime;
      leader.playbackRate = speed.value;
      const other = elements[1 - lead];
      if (other) follow(other, last(1 - lead));
    }
    frame = requestAnimationFrame(tick);
  }

  /** @param {HTMLVideoElement} other @param {number} end */
  function follow(other, end) {
    if (other.seeking) return;
    if (time.value >= end) {
      other.pause();
      if (Math.abs(other.currentTime - end) > CLOSE) other.currentTime = end;
      return;
    }
    if (other.paused) start(other);
    const drift = other.currentTime - time.value;
    if (Math.abs(drift) > FAR) other.currentTime = time.value;
    const bent = Math.abs(drift) < CLOSE ? 1 : Math.min(1.25, Math.max(0.75, 1 - 2 * drift));
    other.playbackRate = speed.value * bent;
  }

  return {
    fps,
    time,
    length,
    playing,
    loop,
    speed,
    heard,
    total,
    at,
    seek,
    show,
    step: (/** @type {number} */ count) => {
      if (playing.value) pause();
      show(at() + count);
    },
    toggle: () => (playing.value ? pause() : play()),
    pause,
    /** A video is there, with its length. @param {number} which @param {HTMLVideoElement} element */
    ready: (which, element) => {
      const { frames, fps: rate } = clips[which];
      elements[which] = element;
      // A container may be as long as its sound, which is a little longer than the pictures.
      lengths[which] = frames && rate ? frames / rate : element.duration;
      length.value = Math.max(...lengths);
      element.currentTime = Math.min(time.value, last(which));
    },
    /** Forgets the videos. */
    close: () => {
      cancelAnimationFrame(frame);
      playing.value = false;
      elements.fill(null);
    },
  };
}

/** @param {HTMLVideoElement} element */
const start = (element) => void element.play().catch(() => {});
