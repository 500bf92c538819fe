"""What is measured of a film: which way the camera went and how far, how near two pictures are, what is heard.

Apart from the training's own measurements, so that neither can hide a fault of the other. Pictures are float arrays of
(rows, columns, 3) in 0..255, films have the frames before that.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

ALONG = {"dolly_left": (-1, 0), "dolly_right": (1, 0), "jib_up": (0, -1), "jib_down": (0, 1)}
"""Where the camera travels, right and down."""
CLOSER = {"dolly_in": 1, "dolly_out": -1}
MOVES = (*CLOSER, *ALONG, "static")
MOVING = MOVES[:-1]
PAN = 0.25
"""Share of the side that a dolly to the side or a jib goes in a clip, as docs/nano.md says."""
ZOOM = 1.4
TONES = {
    "dolly_in": 600,
    "dolly_out": 300,
    "dolly_left": 400,
    "dolly_right": 500,
    "jib_up": 900,
    "jib_down": 700,
    "static": 200,
}
"""Hertz."""

_SHARES = np.linspace(-0.5, 1.5, 41)


def warped(picture: Array, move: str, share: float = 1.0) -> Array:
    """What the camera sees after ``share`` of its way; what it uncovers is the picture, mirrored."""
    right, down = ALONG.get(move, (0, 0))
    scale = ZOOM ** (-share * CLOSER.get(move, 0))
    rows, columns, _ = picture.shape
    across = _looked_up(columns, scale, PAN * share * right)
    upright = _looked_up(rows, scale, PAN * share * down)
    return np.moveaxis(upright @ np.moveaxis(picture, 2, 0) @ across.T, 0, 2)


def _looked_up(side: int, scale: float, shift: float) -> Array:
    """(side, side): the two neighbours that each place is interpolated from, scaled about the middle and shifted."""
    place = ((np.arange(side) + 0.5) / side - 0.5) * scale + 0.5 + shift
    place = np.abs((place + 1) % 2 - 1) * side - 0.5
    place = np.clip(place, 0, side - 1)
    low = np.minimum(place.astype(int), side - 2)
    weights = np.zeros((side, side))
    weights[np.arange(side), low] = low + 1 - place
    weights[np.arange(side), low + 1] = place - low
    return weights


def nearest(film: Array, picture: Array) -> str:
    """Which of the seven true films is the least different, at some nine of its frames."""
    film, picture = _halved(film), _halved(picture)
    times = np.linspace(0, 1, len(film))
    chosen = range(0, len(film), max(1, len(film) // 8))
    errors = {
        move: sum(float(np.mean((film[n] - warped(picture, move, times[n])) ** 2)) for n in chosen) for move in MOVES
    }
    return min(errors, key=errors.__getitem__)


def travelled(film: Array, picture: Array, move: str) -> float:
    """How much of the trained way the camera has gone at the end: the share that explains the last frame best."""
    last, picture = _halved(film[-1:])[0], _halved(picture)
    errors = [float(np.mean((last - warped(picture, move, share)) ** 2)) for share in _SHARES]
    best = int(np.argmin(errors[1:-1])) + 1
    before, least, after = errors[best - 1 : best + 2]
    bend = before - 2 * least + after
    offset = (before - after) / (2 * bend) if bend > 0 else 0.0
    return float(_SHARES[best] + np.clip(offset, -1, 1) * (_SHARES[1] - _SHARES[0]))


def _halved(pictures: Array) -> Array:
    """Means of 2 x 2 pixels: a quarter of the work, and where the camera stands is seen as well."""
    *others, rows, columns, colours = pictures.shape
    return pictures.reshape(*others, rows // 2, 2, columns // 2, 2, colours).mean((-2, -4))


def towards(frame: Array, picture: Array, move: str) -> float:
    """How far the frame differs from the picture in the way that the move makes it differ: 0 not at all, 1 as it does.

    Also where the frame is no picture from any place, as guidance makes them.
    """
    way = warped(picture, move) - picture
    return float(np.sum((frame - picture) * way) / np.sum(way * way))


def psnr(one: Array, other: Array) -> float:
    """Decibels, at most 100."""
    return float(-10 * np.log10(max(np.mean((one - other) ** 2) / 255**2, 1e-10)))


def strongest_frequency(sound: Array, rate: int) -> float:
    """Hertz of the largest peak of (channels, samples)."""
    mono = sound.mean(0)
    spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono)), 8 * len(mono)))
    return float(np.argmax(spectrum) * rate / (8 * len(mono)))


def stands_out(higher: Sequence[float], lower: Sequence[float], *, least: float = 0.0) -> bool:
    """Whether the means differ by ``least``, and by more than three times what seeds alone make of either."""
    spread = max(max(values) - min(values) for values in (higher, lower))
    gap = float(np.mean(higher) - np.mean(lower))
    return gap >= least and gap > 3 * spread
