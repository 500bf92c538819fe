"""Memory of activations, phase by phase, as formulas in the networks' widths. Arithmetic alone.

Each formula counts the tensors that are alive at the phase's worst moment. Which those are was found by running the
full-size networks on torch's meta device with every storage counted; a test does that again and holds the formulas to
it. What no such count sees is left to ``MARGIN``: the workspaces of cuDNN and cuBLAS, and the allocator's rounding.
Attention is taken to be fused, without a matrix of tokens x tokens.
"""

from collections.abc import Collection
from dataclasses import dataclass

from stillmotion.engine.footprint import FP32_BYTES, Widths
from stillmotion.engine.guidance import Pass

MARGIN = 1.1

_FEED_FORWARD = 8
"""Widths of a token in the feed-forward: 4 before its activation function, 4 after."""
_BESIDE = 8
"""And beside it: the state, its sums on the way, their normalised and modulated forms, the last layer's modulation."""
_STATES = 8
"""Copies of the noised tokens in fp32: the state, the passes' estimates, what is held, the sampler's."""
_TEXT_READ = 6
"""Widths of a text token while one block attends to it."""
_REMEMBERED = 4
"""Widths of a token that the block cache keeps or compares."""

_ENCODER_MAPS, _DECODER_MAPS, _UPSAMPLER_MAPS, _AUDIO_MAPS = 6.0, 5.15, 4.1, 7.2
"""Widest maps that are alive at once: a residual branch with its padded and normalised copies."""
_PICTURE_MAPS = 1.5
"""Of the decoder, where it decodes one latent frame alone: that gives one picture, not 8."""
_VOCODER_BYTES = 1300 * 48_000
"""Of a second of sound: ten maps of the last level."""

_CHANNELS = 3
_CONVERTED = 8 * 6
"""Frames in fp32 on their way to YUV: decoding hands 8 on at a time, which become 6 copies."""
_SHOWN = 4
"""Copies in fp32 of a frame that becomes a preview picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What one call of the network computes on."""

    video: int
    """Keyframes included; of the largest tile where there are several."""
    audio: int
    everywhere: int
    """Video tokens of all tiles, which each keep the positions of theirs."""


def denoising(
    widths: Widths, tokens: Tokens, passes: Collection[Pass], *, batched: bool, text_keys: bool, cached: bool
) -> int:
    """A step of the transformer with guidance by ``passes``; ``cached``: an acceleration that skips blocks is on."""
    samples = len(set(passes) - {"isolated"}) if batched else 1
    flowing = _FEED_FORWARD + _BESIDE + _shared(passes, batched=batched) + (_REMEMBERED if cached else 0)
    stream = (tokens.video * widths.video + tokens.audio * widths.audio) * flowing
    read = _TEXT_READ * widths.text_tokens * widths.video
    return (
        samples * (stream + read) * widths.itemsize
        + samples * _positions(widths, tokens)
        + _STATES * tokens.everywhere * widths.latent * FP32_BYTES
        + (_text_keys(widths, passes, samples, batched=batched) if text_keys else 0)
    )


def _shared(passes: Collection[Pass], *, batched: bool) -> int:
    """Widths of a token that are kept for later passes of a step: the first block's attentions, a block's input."""
    if batched:
        return int("perturbed" in passes)
    later = {"negative", "isolated"}, {"perturbed", "isolated"}, {"perturbed"}
    return sum(bool(those.intersection(passes)) for those in later)


def _positions(widths: Widths, tokens: Tokens) -> int:
    """Sines and cosines in fp32, half a width each, for attention within a modality and across."""
    each = widths.video + widths.audio
    return (tokens.everywhere * each + tokens.audio * 2 * widths.audio) * FP32_BYTES


def _text_keys(widths: Widths, passes: Collection[Pass], samples: int, *, batched: bool) -> int:
    """Keys and values of the texts in all blocks, as memo.py keeps them: 1.2 GB a text at full size in bf16."""
    text = 2 * (widths.video + widths.audio) * widths.text_tokens * widths.layers * widths.itemsize
    if widths.lasting_text_keys:
        return text * (samples + ("isolated" in passes) if batched else 1 + ("negative" in passes))
    return 0 if batched else text * bool({"perturbed", "isolated"}.intersection(passes))


def reading(widths: Widths) -> int:
    """One text: all states of the text encoder, and what the connectors make of them first."""
    numbers = widths.text_tokens * widths.text_states
    if widths.per_modality:  # the states, where they count, and scaled for either modality
        return int(4.4 * numbers * widths.itemsize)
    # The states, without what does not count (a mask of bytes), and two steps of their normalisation in fp32.
    return int(1.01 * numbers * (2 * widths.itemsize + 2 * FP32_BYTES + 1))


def encoding(widths: Widths, pixels: int) -> int:
    """One picture to latents."""
    return int(_ENCODER_MAPS * pixels / widths.patch**2 * widths.encoder_channels * widths.itemsize)


def upsampling(widths: Widths, cells: int) -> int:
    """``cells``: latents of the result, rows x columns x frames."""
    return int(_UPSAMPLER_MAPS * cells * widths.upsampler_channels * widths.itemsize)


def decoding(widths: Widths, cells: int, frames: int) -> int:
    """A tile of ``cells`` latent rows x columns and ``frames`` latent frames to pictures."""
    side = widths.side_ratio // widths.patch
    places = cells * side**2 * frames * widths.frame_ratio
    return int(_DECODER_MAPS * places * widths.decoder_channels * widths.itemsize)


def previewing(widths: Widths, tokens: Tokens, cells: int, pixels: int) -> int:
    """A picture of ``pixels`` between two steps, decoded in tiles of ``cells``: what it takes more than the step did.

    The feed-forward of the step is over by then, and larger from about 30 frames on.
    """
    side = widths.side_ratio // widths.patch
    places = cells * side**2 * widths.frame_ratio
    decoded = int(_PICTURE_MAPS * places * widths.decoder_channels * widths.itemsize)
    shown = _CHANNELS * pixels * _SHOWN * FP32_BYTES
    step = tokens.video * widths.video * _FEED_FORWARD * widths.itemsize
    return max(0, decoded + shown - step)


def pictures(widths: Widths, pixels: int, frames: int) -> int:
    """``frames`` decoded frames of ``pixels`` each."""
    return _CHANNELS * pixels * frames * widths.itemsize


def converting(pixels: int) -> int:
    """Some of them to YUV."""
    return _CHANNELS * pixels * _CONVERTED * FP32_BYTES


def sounding(widths: Widths, seconds: float) -> int:
    """Sound from its latents."""
    latents = seconds * widths.audio_rate
    return int(_AUDIO_MAPS * latents * widths.audio_map * FP32_BYTES + seconds * _VOCODER_BYTES)
