"""What the mock engine shows and sounds: a window that glides over the input picture, sketches of it, a quiet tone."""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from stillmotion.job import Job, Work
from stillmotion.media.yuv import planar

Bytes = npt.NDArray[np.uint8]

SAMPLE_RATE = 24_000
"""Hz, stereo: what the LTX-2 vocoder gives."""

CHUNK_BYTES = 8 << 20
"""Frames are handed on in chunks of about this size, so that memory does not grow with the clip."""

SKETCH_SIDE = 320
"""Longest side of a sketch in pixels."""

TRAVEL = 0.15
"""The window travels this part of the picture's width and height from the first frame to the last."""


def moving_crop(work: Work) -> Iterator[Bytes]:
    """Chunks ``(n, height * 3 // 2, width)`` of planar YUV; the direction and the light depend on the job's seed."""
    job = work.job
    random = np.random.default_rng(job.seed)
    canvas = _even(job.width * (1 + TRAVEL)), _even(job.height * (1 + TRAVEL))
    planes = _split(planar(_light(_cover(_picture(work), canvas), random)[None])[0], canvas)
    per_chunk = max(1, CHUNK_BYTES // (job.width * job.height * 3 // 2))
    path = _path(job, canvas, random.uniform(0, 2 * math.pi))
    for first in range(0, job.num_frames, per_chunk):
        corners = path[first : first + per_chunk]
        yield np.stack([_window(planes, corner, job.width, job.height) for corner in corners])


def tone(job: Job) -> npt.NDArray[np.float32]:
    """``(2, samples)`` in -1..1: a soft sine as long as the video; its pitch (220 to 880 Hz) depends on the seed."""
    pitch = 220 * 4 ** np.random.default_rng(job.seed).uniform()
    time = np.arange(round(job.num_frames / job.fps * SAMPLE_RATE)) / SAMPLE_RATE
    wave = 0.05 * np.sin(2 * math.pi * pitch * time)
    return np.stack([wave, wave]).astype(np.float32)


class Sketch:
    """The input picture as it emerges from grain, small and in the delivery's shape; what previews show."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._clean: npt.NDArray[np.float64] | None = None

    def at(self, done: float) -> Bytes:
        """RGB (rows, columns, 3) when the part ``done`` of all steps is done."""
        job = self._work.job
        if self._clean is None:
            scale = min(1, SKETCH_SIDE / max(job.width, job.height))
            size = max(1, round(job.width * scale)), max(1, round(job.height * scale))
            self._clean = np.asarray(_cover(_picture(self._work), size), np.float64)
        grain = np.random.default_rng(job.seed).uniform(0, 255, self._clean.shape)
        return np.rint(done * self._clean + (1 - done) * grain).astype(np.uint8)


def _picture(work: Work) -> Image.Image:
    first = min(work.job.keyframes, key=lambda keyframe: keyframe.frame, default=None)
    path = work.images.get("image_url") or (work.images[first.image] if first else None)
    if path is None:
        # Of endpoints that begin with no picture; ``_light`` makes it another one for every seed.
        return Image.linear_gradient("L").convert("RGB")
    with Image.open(path) as image:
        return image.convert("RGB")


def _cover(picture: Image.Image, canvas: tuple[int, int]) -> Image.Image:
    return ImageOps.fit(picture, canvas, Image.Resampling.BICUBIC)


def _light(picture: Image.Image, random: np.random.Generator) -> Bytes:
    """Brightens and darkens wide areas by up to 12 of 255: two seeds differ even where the picture is uniform."""
    pattern = Image.fromarray(random.integers(0, 25, (4, 4), dtype=np.uint8))
    light = np.asarray(pattern.resize(picture.size, Image.Resampling.BICUBIC), np.int16) - 12
    lit: Bytes = np.clip(np.asarray(picture, np.int16) + light[..., None], 0, 255).astype(np.uint8)
    return lit


def _path(job: Job, canvas: tuple[int, int], angle: float) -> list[tuple[int, int]]:
    """The window's upper left corner in each frame: a straight line through the middle of the free margin."""
    margin = np.array([canvas[0] - job.width, canvas[1] - job.height])
    along = np.linspace(-0.5, 0.5, job.num_frames)[:, None]
    corners = np.rint(margin * (0.5 + along * np.array([math.cos(angle), math.sin(angle)])))
    return [(int(x), int(y)) for x, y in corners]


def _split(yuv: Bytes, canvas: tuple[int, int]) -> tuple[Bytes, Bytes, Bytes]:
    width, height = canvas
    chroma = yuv[height:].reshape(2, height // 2, width // 2)
    return yuv[:height], chroma[0], chroma[1]


def _window(planes: tuple[Bytes, Bytes, Bytes], corner: tuple[int, int], width: int, height: int) -> Bytes:
    x, y = corner
    luma = planes[0][y : y + height, x : x + width]
    chroma = [plane[y // 2 :, x // 2 :][: height // 2, : width // 2] for plane in planes[1:]]
    return np.concatenate([part.reshape(-1) for part in (luma, *chroma)]).reshape(height * 3 // 2, width)


def _even(side: float) -> int:
    return math.ceil(side / 2) * 2
