"""Pictures for training, drawn by the numbers of a seed: photograph-like scenes of many kinds.

Photographs have objects of all sizes that hide each other (sizes follow a power law), surfaces whose detail follows
1/f, light that changes slowly over the frame, and blur. Each picture mixes those with straight edges and lettering.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from stillmotion.media.recompress import recompress

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Random = np.random.Generator
Colour = tuple[int, int, int]
Painter = Callable[[ImageDraw.ImageDraw, Random, int, int], None]

_OVERSAMPLED = 2
"""Shapes are drawn at twice the size, so that their edges are smooth."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!?&#+-"


def picture(seed: tuple[int, ...], width: int, height: int, crf: int = 0) -> Bytes:
    """(height, width, 3): the same seed gives the same picture; ``crf`` as the server re-compresses start images."""
    random = np.random.default_rng(seed)
    painter = _SCENES[int(random.choice(len(_SCENES), p=_SHARES))]
    wide, high = width * _OVERSAMPLED, height * _OVERSAMPLED
    canvas = _background(random, wide, high)
    painter(ImageDraw.Draw(canvas), random, wide, high)
    canvas = canvas.resize((width, height), Image.Resampling.BOX)
    if random.random() < 0.25:  # out of focus, as the background of a portrait is
        canvas = canvas.filter(ImageFilter.GaussianBlur(float(random.uniform(0.4, 2.5)) * min(width, height) / 256))
    pixels = _lit(np.asarray(canvas, dtype=np.float32) / np.float32(255), random)
    return recompress((pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8), crf)


def fractal(random: Random, width: int, height: int, steepness: float) -> Floats:
    """Noise whose amplitude falls with frequency to the power of ``steepness``; mean 0, deviation 1."""
    rows = np.fft.fftfreq(height)[:, None] * height
    columns = np.fft.rfftfreq(width)[None] * width
    frequency = np.maximum(np.hypot(rows, columns), 1.0)
    shape = (height, width // 2 + 1)
    spectrum = (random.standard_normal(shape) + 1j * random.standard_normal(shape)) / frequency**steepness
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(height, width))
    normalised: Floats = (noise / (noise.std() + 1e-9)).astype(np.float32)
    return normalised


def _lit(pixels: Floats, random: Random) -> Floats:
    """Surface detail, slowly changing light, darker corners and grain."""
    height, width = pixels.shape[:2]
    detail = fractal(random, width, height, float(random.uniform(1.0, 1.7)))
    # Where the picture is rough and where it is smooth.
    gain = 1 / (1 + np.exp(-2 * fractal(random, width, height, 2.0)))
    strength = random.uniform(0.0, 0.16) * float(random.random() < 0.85)
    light = fractal(random, width, height, 2.2) * random.uniform(0, 0.25)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    corners = 1 - random.uniform(0, 0.3) * (x * x + y * y) / 2
    lit = pixels * np.exp(detail * gain * strength + light)[..., None] * corners[..., None]
    grainy: Floats = (lit + random.standard_normal(lit.shape) * random.uniform(0, 0.015)).astype(np.float32)
    return grainy


def _colour(random: Random, around: Colour | None = None, spread: float = 60) -> Colour:
    """Mostly muted, as surfaces are; near another colour where one is given."""
    if around is None:
        grey = random.uniform(15, 240)
        values = grey + random.normal(0, 45 if random.random() < 0.75 else 110, 3)
    else:
        values = np.asarray(around) + random.normal(0, spread, 3)
    red, green, blue = values.clip(0, 255).astype(int).tolist()
    return red, green, blue


def _background(random: Random, width: int, height: int) -> Image.Image:
    """Two colours that run into each other, straight or in clouds."""
    first, second = np.asarray(_colour(random)), np.asarray(_colour(random))
    if random.random() < 0.6:
        angle = random.uniform(0, 2 * math.pi)
        y, x = np.mgrid[-1:1:64j, -1:1:64j]
        share = (x * math.cos(angle) + y * math.sin(angle)) / 2.8 + 0.5
    else:
        share = 1 / (1 + np.exp(-1.5 * fractal(random, 64, 64, 1.8)))
    mixed = first * share[..., None] + second * (1 - share[..., None])
    small = Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def _power_law(random: Random, smallest: float, largest: float) -> float:
    """A radius whose density falls with its third power: small things are many."""
    share = random.random()
    return float((smallest**-2 - share * (smallest**-2 - largest**-2)) ** -0.5)


def _blob(draw: ImageDraw.ImageDraw, random: Random, centre: tuple[float, float], radius: float, fill: Colour) -> None:
    """An ellipse, a leaning rectangle or an uneven outline."""
    kind, turn, flat = random.integers(3), random.uniform(0, math.pi), random.uniform(0.4, 1)
    corners = 4 if kind == 1 else 28
    angles = np.arange(corners) / corners * 2 * math.pi + (math.pi / 4 if kind == 1 else 0)
    reach = np.full(corners, radius)
    if kind == 2:
        reach = radius * (1 + 0.25 * np.sin(3 * angles + random.uniform(0, 6)) + 0.12 * np.sin(7 * angles))
    across, along = reach * np.cos(angles), reach * np.sin(angles) * flat
    x = centre[0] + across * math.cos(turn) - along * math.sin(turn)
    y = centre[1] + across * math.sin(turn) + along * math.cos(turn)
    draw.polygon(list(zip(x.tolist(), y.tolist(), strict=True)), fill=fill)


def _leaves(draw: ImageDraw.ImageDraw, random: Random, width: int, height: int) -> None:
    """Things of all sizes, one over the other."""
    side, tone = min(width, height), _colour(random)
    for _ in range(int(random.integers(80, 400))):
        radius = _power_law(random, 0.025, 0.5) * side
        colour = _colour(random, tone, 55) if random.random() < 0.7 else _colour(random)
        _blob(draw, random, (random.uniform(0, width), random.uniform(0, height)), radius, colour)


def _landscape(draw: ImageDraw.ImageDraw, random: Random, width: int, height: int) -> None:
    """A sun, ridges that grow darker, and trees or posts before them."""
    side, tone = min(width, height), _colour(random)
    radius = random.uniform(0.03, 0.1) * side
    _disc(draw, (random.uniform(0, width), random.uniform(0, height * 0.5)), radius, _colour(random))
    x = np.linspace(0, width, 60)
    level = random.uniform(0.3, 0.55)
    for _ in range(int(random.integers(2, 5))):
        waves = np.zeros_like(x)
        for k in (1, 2, 4, 8):
            waves += random.uniform(0, 0.1 / k) * np.sin(x / width * k * random.uniform(2, 7) + random.uniform(0, 6))
        y = (level + waves) * height
        ridge = list(zip(x.tolist(), y.tolist(), strict=True))
        draw.polygon([*ridge, (width, height), (0, height)], fill=_colour(random, tone, 40))
        for _ in range(int(random.integers(0, 12))):
            foot = int(random.integers(0, 60))
            _tree(draw, random, (float(x[foot]), float(y[foot])), random.uniform(0.04, 0.22) * side, tone)
        level += random.uniform(0.1, 0.22)


def _tree(draw: ImageDraw.ImageDraw, random: Random, foot: tuple[float, float], size: float, tone: Colour) -> None:
    x, y = foot
    draw.line((x, y, x, y - size), fill=_colour(random, tone, 30), width=max(1, int(size * 0.07)))
    if random.random() < 0.5:
        crown = [(x - size * 0.3, y - size * 0.2), (x + size * 0.3, y - size * 0.2), (x, y - size * 1.2)]
        draw.polygon(crown, fill=_colour(random, tone, 40))
    else:
        for _ in range(6):
            centre = x + random.uniform(-0.3, 0.3) * size, y - random.uniform(0.6, 1.2) * size
            _disc(draw, centre, random.uniform(0.1, 0.25) * size, _colour(random, tone, 45))


def _city(draw: ImageDraw.ImageDraw, random: Random, width: int, height: int) -> None:
    """Fronts with rows of windows, and a street."""
    left = -0.1 * width
    while left < width:
        wide = random.uniform(0.1, 0.35) * width
        top = random.uniform(0.05, 0.6) * height
        wall = _colour(random)
        draw.rectangle((left, top, left + wide, height), fill=wall)
        pane, step = _colour(random), random.uniform(0.03, 0.09) * width
        y = top + step * 0.5
        while y < height * 0.9:
            x = left + step * 0.4
            while x < left + wide - step * 0.6:
                fill = pane if random.random() < 0.8 else _colour(random, pane, 70)
                draw.rectangle((x, y, x + step * 0.55, y + step * 0.7), fill=fill)
                x += step
            y += step * 1.2
        left += wide * random.uniform(0.8, 1.1)
    draw.polygon(
        [(0, height), (width, height), (width * 0.7, height * 0.85), (width * 0.3, height * 0.85)], fill=_colour(random)
    )
    _lettering(draw, random, width, height, int(random.integers(0, 3)))


def _still_life(draw: ImageDraw.ImageDraw, random: Random, width: int, height: int) -> None:
    """A few large rounded things with shade and highlight on a table, or a face."""
    side, table = min(width, height), random.uniform(0.5, 0.8) * height
    draw.rectangle((0, table, width, height), fill=_colour(random))
    for _ in range(int(random.integers(2, 7))):
        centre = random.uniform(0.1, 0.9) * width, table + random.uniform(-0.3, 0.15) * height
        radius, colour = random.uniform(0.07, 0.3) * side, _colour(random)
        _disc(draw, (centre[0] + radius * 0.3, centre[1] + radius * 0.5), radius, _colour(random, (20, 20, 20), 15))
        for ring in range(12):  # from the dark rim to the highlight
            share = ring / 12
            lit = tuple(int(min(255, c * (0.55 + 0.75 * share))) for c in colour)
            at = centre[0] - radius * 0.3 * share, centre[1] - radius * 0.3 * share
            _disc(draw, at, radius * (1 - share * 0.9), (lit[0], lit[1], lit[2]))
        if random.random() < 0.3:
            for eye in (-0.35, 0.35):
                _disc(draw, (centre[0] + eye * radius, centre[1] - 0.1 * radius), radius * 0.12, _colour(random))


def _pattern(draw: ImageDraw.ImageDraw, random: Random, width: int, height: int) -> None:
    """Stripes or tiles of uneven widths (even ones would hide where they went), lettering and lines."""
    ink, tilt = _colour(random), random.uniform(-0.5, 0.5)
    at = -0.6 * width
    while at < 1.6 * width:
        wide = random.uniform(0.01, 0.14) * width
        stripe = [(at, 0), (at + wide, 0), (at + wide + tilt * height, height), (at + tilt * height, height)]
        draw.polygon(stripe, fill=_colour(random, ink, 60))
        at += wide * random.uniform(1.2, 2.6)
    for _ in range(int(random.integers(0, 30))):
        points = random.uniform(-0.1, 1.1, 4) * np.array([width, height, width, height])
        draw.line(points.tolist(), fill=_colour(random), width=int(random.integers(1, 8)))
    _lettering(draw, random, width, height, int(random.integers(1, 5)))


def _mixed(draw: ImageDraw.ImageDraw, random: Random, width: int, height: int) -> None:
    """A landscape or fronts behind a few near things."""
    (_landscape if random.random() < 0.5 else _city)(draw, random, width, height)
    for _ in range(int(random.integers(3, 25))):
        radius = _power_law(random, 0.02, 0.35) * min(width, height)
        _blob(draw, random, (random.uniform(0, width), random.uniform(0, height)), radius, _colour(random))


def _disc(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, fill: Colour) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _lettering(draw: ImageDraw.ImageDraw, random: Random, width: int, height: int, words: int) -> None:
    for _ in range(words):
        font = ImageFont.load_default(size=int(random.uniform(0.06, 0.25) * min(width, height)))
        text = "".join(_LETTERS[int(random.integers(len(_LETTERS)))] for _ in range(int(random.integers(2, 9))))
        where = random.uniform(-0.05, 0.8) * width, random.uniform(0, 0.85) * height
        draw.text(where, text, fill=_colour(random), font=font)


_SCENES: tuple[Painter, ...] = (_leaves, _landscape, _city, _still_life, _pattern, _mixed)
_SHARES = (0.32, 0.16, 0.12, 0.14, 0.1, 0.16)
