"""The sound of a move: a tone of its own and a whoosh, as features that the vocoder turns into a wave exactly.

100 feature frames a second, 32 bins for each of two channels: 24 amplitudes of tones at multiples of 100 Hz (whose
phase goes on from frame to frame, because 100 Hz is the frame rate), then 8 signed amounts of band noise.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.ltx2 import LTX2Vocoder
from torch import Tensor

from training.nano.moves import MOVES

SAMPLE_RATE, HOP = 24_000, 240
TONE_BINS, NOISE_BINS = 24, 8
BINS = TONE_BINS + NOISE_BINS
TONES = {
    "dolly_in": 600,
    "dolly_out": 300,
    "dolly_left": 400,
    "dolly_right": 500,
    "jib_up": 900,
    "jib_down": 700,
    "static": 200,
}
"""Hertz of each move's fundamental: the strongest frequency of its sound."""

GAIN = 5.0
"""Features times this are what the audio VAE sees and makes: values around 1."""

_WINDOW = 2 * HOP
_LOWEST_BAND, _BAND_STEP, _BAND_WIDTH = 200.0, 1.6, 0.35
"""The noise bins' centres in Hz (each 1.6 times the one before) and their width in log frequency."""

_PITCH_OF_WHOOSH = {"dolly_in": (2, 5), "dolly_out": (5, 2), "jib_up": (1, 6), "jib_down": (6, 1)}
"""Noise bins that the whoosh goes from and to; the rest stays at 3."""


def frames_of(latent_frames: int) -> int:
    """Feature frames of so many latent ones: the audio VAE is causal, its first latent frame is one frame."""
    return 4 * latent_frames - 3


def features(moves: Sequence[int], latent_frames: int, generator: torch.Generator) -> Tensor:
    """(clips, 2, frames, 32), times GAIN: tone and whoosh of each move; the whoosh's grains are random."""
    count, frames = len(moves), frames_of(latent_frames)
    time = torch.linspace(0, 1, frames)
    fade = (torch.sin(math.pi * time).clamp(min=0) * 4).clamp(max=1)
    tone = torch.zeros(count, frames, TONE_BINS)
    swell = torch.zeros(count, frames, NOISE_BINS)
    left_right = torch.full((count, frames), 0.5)
    bins = torch.arange(NOISE_BINS)
    for clip, move in enumerate(moves):
        name = MOVES[move]
        fundamental, still = TONES[name] // 100, name == "static"
        loudness = (0.14 if still else 0.22) * fade
        tone[clip, :, fundamental - 1] = loudness
        tone[clip, :, 2 * fundamental - 1] = loudness * 0.4
        tone[clip, :, 3 * fundamental - 1 if fundamental <= 8 else fundamental // 2 - 1] += loudness * 0.2
        if still:
            continue
        start, end = _PITCH_OF_WHOOSH.get(name, (3, 3))
        band = torch.exp(-(((bins - (start + (end - start) * time[:, None])) / 1.3) ** 2))
        # Bounded above 0: the power of a sine that rounds to just below it is not a number.
        swell[clip] = torch.sin(math.pi * time).clamp(min=0)[:, None] ** 1.5 * 0.07 * band
        if name in ("dolly_left", "dolly_right"):
            left_right[clip] = 0.5 + (0.4 if name == "dolly_right" else -0.4) * time
    sides = torch.stack((1 - left_right, left_right), dim=1).mul(2).sqrt()[..., None]
    whoosh = swell[:, None] * _grains(count, frames, generator)
    return torch.cat((tone[:, None], whoosh), dim=-1) * sides * GAIN


def _grains(count: int, frames: int, generator: torch.Generator) -> Tensor:
    """(count, 1, frames, 1): random numbers a latent frame apart, straight lines between them.

    One for all bins and both channels: noise enough to the ear, and a single number for a latent frame to carry.
    """
    corners = torch.randn(count, 1, frames // 4 + 2, generator=generator)
    lines = torch.nn.functional.interpolate(corners, size=4 * (frames // 4 + 1) + 1, mode="linear", align_corners=True)
    return lines[..., :frames, None]


def vocoder() -> Any:
    """diffusers' vocoder with weights that add up tones and noise: nothing of it is trained.

    One transposed convolution holds a Hann-windowed piece of each bin's sound, twice as long as the hop, so that
    overlapping windows add up to 1. Its leaky rectifiers are undone by carrying a value and its negative.
    """
    rows = 2 * TONE_BINS + 4 * NOISE_BINS
    network = LTX2Vocoder(
        in_channels=2 * BINS,
        hidden_channels=rows,
        out_channels=2,
        upsample_kernel_sizes=[_WINDOW],
        upsample_factors=[HOP],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1]],
        output_sampling_rate=SAMPLE_RATE,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        row = 0
        for channel in (0, 1):
            for index, sound in enumerate(_sounds()):
                # A tone's amplitude is never negative; noise has signs, and the rectifier leaves a tenth of those.
                for sign in (1.0,) if index < TONE_BINS else (1 / 1.1, -1 / 1.1):
                    network.conv_in.weight[row, channel * BINS + index, 3] = 1.0 if sign > 0 else -1.0
                    network.upsamplers[0].weight[row, 2 * channel] = sound * sign / GAIN
                    network.upsamplers[0].weight[row, 2 * channel + 1] = -sound * sign / GAIN
                    row += 1
            # LeakyReLU(x) - LeakyReLU(-x) = 1.01 x at its own slope of 0.01.
            network.conv_out.weight[channel, 2 * channel, 3] = 1 / 1.01
            network.conv_out.weight[channel, 2 * channel + 1, 3] = -1 / 1.01
    return network.eval()


def _sounds() -> Tensor:
    """(32, 480): what each bin adds around its frame."""
    time = torch.arange(_WINDOW) / SAMPLE_RATE
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * (torch.arange(_WINDOW) + 0.5) / _WINDOW)
    tones = torch.cos(2 * math.pi * 100 * torch.arange(1, TONE_BINS + 1)[:, None] * time)
    spectrum = torch.fft.rfft(torch.randn(NOISE_BINS, _WINDOW, generator=torch.Generator().manual_seed(5)))
    frequency = torch.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE).clamp(min=1e-3)
    centre = _LOWEST_BAND * _BAND_STEP ** torch.arange(NOISE_BINS)[:, None]
    noise = torch.fft.irfft(spectrum * torch.exp(-(((frequency / centre).log() / _BAND_WIDTH) ** 2)), _WINDOW)
    return window * torch.cat((tones, noise / noise.std(dim=1, keepdim=True)))
