"""Frames and sound of a finished computation to the file that was promised."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stillmotion.errors import EngineError
from stillmotion.job import Media, Work
from stillmotion.media.containers import held, open_writer
from stillmotion.media.poster import write_poster
from stillmotion.media.probe import probe_media
from stillmotion.media.pump import Pump
from stillmotion.media.rates import frame_rate


class Interrupted(Exception):
    """The work was told to stop while its file was being written."""


def export_video(
    work: Work,
    frames: Iterable[npt.NDArray[np.uint8]],
    audio: npt.NDArray[np.float32] | None,
    sample_rate: int,
    *,
    should_stop: Callable[[], bool],
) -> tuple[Media, float]:
    """Writes ``work.output`` while ``frames`` are still being computed; what is in it, and the encoder's seconds.

    ``work.poster``, if it is wanted, is written from the first frame; that it cannot be made fails nothing.
    ``frames``: chunks ``(n, height * 3 // 2, width)`` of planar BT.709 YUV; ``audio``: ``(channels, samples)`` in
    -1..1 or None; a GIF leaves it out. Raises Interrupted once ``should_stop()``, EngineError when the file is not
    what the job promises, and whatever ``frames`` raises; no file is left behind then.
    """
    try:
        seconds = _write(work, _with_poster(work, frames), audio, sample_rate, should_stop)
        media = probe_media(work.output)
        _compare(work, media)
    except BaseException:
        for path in (work.output, work.poster):
            if path is not None:
                Path(path).unlink(missing_ok=True)
        raise
    return media, seconds


def _with_poster(work: Work, frames: Iterable[npt.NDArray[np.uint8]]) -> Iterator[npt.NDArray[np.uint8]]:
    """``frames`` unchanged. A poster takes 20 ms here, where the picture is at hand; from the file it takes a process
    of its own and a decoder."""
    missing = work.poster
    for chunk in frames:
        if missing is not None:
            with suppress(OSError, ValueError):
                write_poster(chunk[0], work.job.width, work.job.height, missing)
            missing = None
        yield chunk


def _write(
    work: Work,
    frames: Iterable[npt.NDArray[np.uint8]],
    audio: npt.NDArray[np.float32] | None,
    sample_rate: int,
    should_stop: Callable[[], bool],
) -> float:
    job = work.job
    writer = open_writer(
        work.output,
        job.width,
        job.height,
        frame_rate(job.fps),
        work.encoding,
        sample_rate=None if audio is None else sample_rate,
        channels=2 if audio is None else audio.shape[0],
    )
    with Pump(writer) as pump:
        if audio is not None:
            writer.write_audio(audio)  # before the first chunk: the encoder's thread has nothing to do yet
        for chunk in frames:
            if should_stop():
                raise Interrupted
            pump.write(chunk)
    return pump.busy_seconds


def _compare(work: Work, media: Media) -> None:
    job = work.job
    promised = (job.width, job.height, *held(work.encoding, job.num_frames, frame_rate(job.fps), job.audio))
    made = (media.width, media.height, media.num_frames, media.has_audio)
    if made != promised:
        raise EngineError(f"the engine made (width, height, frames, sound) {made} where {promised} was promised")
