"""What is measured of a clip: which way the camera went, how far, how near to the truth, and what is heard."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from training.nano import moves
from training.nano.moves import MOVES

Floats = npt.NDArray[np.float32]


def to_rgb(planes: npt.NDArray[np.uint8]) -> Tensor:
    """(frames, rows * 3 / 2, columns) of BT.709 4:2:0, the engine's, to (3, frames, rows, columns) in -1..1."""
    count, high, columns = planes.shape
    rows = high * 2 // 3
    luma = torch.from_numpy(planes[:, :rows].astype(np.float32) - 16) / 219
    chroma = torch.from_numpy(planes[:, rows:].astype(np.float32) - 128) / 224
    blue, red = functional.interpolate(
        chroma.reshape(count, 2, rows // 2, columns // 2), scale_factor=2, mode="bilinear", align_corners=False
    ).unbind(1)
    r, b = luma + 1.5748 * red, luma + 1.8556 * blue
    g = (luma - 0.2126 * r - 0.0722 * b) / 0.7152
    return torch.stack((r, g, b)).clamp(0, 1) * 2 - 1


def psnr(one: Tensor, other: Tensor) -> float:
    """Decibels between two pictures or clips in -1..1; at most 100."""
    return float(-10 * torch.log10(((one - other).square().mean() / 4).clamp(min=1e-10)))


def true_clips(picture: Tensor, frames: int) -> Tensor:
    """All seven moves of (3, rows, columns) at normal speed: (7, 3, frames, rows, columns)."""
    count = len(MOVES)
    return moves.clip(picture.expand(count, -1, -1, -1), range(count), torch.ones(count), frames)


def nearest(clip: Tensor, candidates: Tensor) -> int:
    """Which of the candidates has the smallest squared difference to the clip."""
    return int((candidates - clip).square().mean((1, 2, 3, 4)).argmin())


def displacement(clip: Tensor) -> tuple[float, float]:
    """How far the content went from the first to the last frame, right and down, as shares of the sides.

    Phase correlation of the luma. It has no meaning for a zoom, and repeating patterns mislead it.
    """
    first, last = clip[:, 0].mean(0), clip[:, -1].mean(0)
    rows, columns = first.shape
    window = torch.hann_window(rows)[:, None] * torch.hann_window(columns)
    one, other = (torch.fft.fft2((frame - frame.mean()) * window) for frame in (first, last))
    cross = other * one.conj()
    peak = int(torch.fft.ifft2(cross / (cross.abs() + 0.01 * cross.abs().mean())).real.argmax())
    down, right = divmod(peak, columns)
    return _signed(right, columns), _signed(down, rows)


def _signed(place: int, side: int) -> float:
    return (place - side if place > side // 2 else place) / side


def amount(move: str, clip: Tensor) -> float | None:
    """Share of the trained way that the content went, positive in the right direction; None for zooms and static."""
    right, down = displacement(clip)
    # The content goes where the camera comes from.
    way = {"dolly_left": right, "dolly_right": -right, "jib_up": down, "jib_down": -down}.get(move)
    return None if way is None else way / moves.PAN


def strongest_frequency(wave: Floats, rate: int) -> float:
    """Hertz of the largest peak of (channels, samples), between two bins where it is."""
    mono = wave.mean(0)
    spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono))))
    peak = int(spectrum[1:-1].argmax()) + 1
    left, middle, right = np.log(spectrum[peak - 1 : peak + 2] + 1e-12)
    offset = (left - right) / (2 * (left - 2 * middle + right) - 1e-12)
    return float((peak + offset) * rate / len(mono))


def noise_share(wave: Floats, rate: int, tones: Sequence[float]) -> float:
    """Share of the energy that is further than 30 Hz from every one of the tones."""
    mono = wave.mean(0)
    power = np.abs(np.fft.rfft(mono * np.hanning(len(mono)))) ** 2
    frequency = np.fft.rfftfreq(len(mono), 1 / rate)
    apart = np.min(np.abs(frequency[:, None] - np.asarray(tones)[None]), axis=1) > 30
    return float(power[apart].sum() / (power.sum() + 1e-12))
