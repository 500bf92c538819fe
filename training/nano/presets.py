"""How large the networks are and how long each phase takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.nano.clips import BUCKETS, SMOKE_BUCKETS, Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One kind of machine, or of purpose."""

    width: int
    """Channels of a video token."""
    audio_width: int
    heads: int
    layers: int
    tokens: int
    """Video tokens of a training step, over all its clips."""
    rate: float = 1.0
    """Factor of the transformer's learning rates."""
    basis_sizes: tuple[int, ...] = (96, 128, 192, 256)
    basis_clips: int = 42
    """Of each size."""
    basis_samples: int = 14_000
    buckets: tuple[Bucket, ...] = BUCKETS
    video_steps: int = 1400
    sound_steps: int = 700
    sound_decoder_steps: int = 900
    text_steps: int = 1200
    sound_variants: int = 4
    """Of each move's sound at each length."""
    upsampler_steps: int = 400
    lora_steps: int = 230
    transformer: tuple[tuple[str, int], ...] = (("small", 1500), ("medium", 1500), ("full", 2600))
    """Steps on each curriculum of ``clips``; the rate falls to nothing over the second half of the last."""


PRESETS: Mapping[str, Preset] = {
    "cpu": Preset(width=192, audio_width=64, heads=4, layers=6, tokens=3600),
    "gpu": Preset(
        width=256,
        audio_width=64,
        heads=4,
        layers=8,
        tokens=32_000,
        video_steps=4000,
        sound_steps=4000,
        sound_decoder_steps=2000,
        text_steps=3000,
        upsampler_steps=3000,
        lora_steps=300,
        transformer=(("small", 3000), ("medium", 4000), ("full", 8000)),
    ),
    "smoke": Preset(
        width=48,
        audio_width=16,
        heads=2,
        layers=2,
        tokens=72,
        basis_sizes=(96,),
        basis_clips=7,
        basis_samples=600,
        buckets=SMOKE_BUCKETS,
        video_steps=2,
        sound_steps=2,
        sound_decoder_steps=2,
        text_steps=3,
        sound_variants=1,
        upsampler_steps=2,
        lora_steps=1,
        transformer=(("small", 4), ("full", 4)),
    ),
}
