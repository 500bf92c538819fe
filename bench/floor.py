"""The least seconds that a request can take on one GPU: its arithmetic over the rates of the units that do it.

Counted are matrix products, attention and convolutions of the exact method, each once; nothing that only moves bytes,
as the transformer does 5,000 operations and more for each byte of its weights. The transformer's formulas agree with
torch's FlopCounterMode on diffusers' module to 0.1 % (198.8, 537.0 and 1,714.6 TFLOP counted for a pass of 768x512,
1280x704 and 1920x1088, 121 frames). Pure arithmetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from stillmotion.engine.guidance import Pass, needed
from stillmotion.job import Family, Job, Stage

VIDEO, AUDIO, LAYERS, EXPANSION = 4096, 2048, 48, 4
"""Widths of the two streams, transformer blocks, and how much wider a feed-forward is inside; both families alike."""
TEXT_TOKENS = 1024
AUDIO_TOKENS_PER_SECOND = 25

STG_BLOCK: Mapping[Family, int] = MappingProxyType({"ltx-2": 29, "ltx-2.3": 28})

_DECODED: Mapping[Family, float] = MappingProxyType({"ltx-2": 137.99e12, "ltx-2.3": 269.34e12})
_ENCODED: Mapping[Family, float] = MappingProxyType({"ltx-2": 5.34e12, "ltx-2.3": 3.89e12})
_COUNTED_AT = 1280 * 704, 121
"""FLOP of the video VAE at this size, counted by FlopCounterMode on the meta device: for all frames, and for one
picture. Both are in proportion to the pixels (60.22 and 117.53 TFLOP at 768x512)."""

_TEXT_PARAMETERS, _TEXT_WIDTH, _TEXT_LAYERS = 11.8e9, 4096, 48
"""Gemma 3 12B without its embedding; 16 heads of 256."""

_OTHER_SECONDS = 0.1
"""Upsampler, audio VAE, vocoder, and the frames' way to the host. A guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """FLOP a second. The defaults are assumptions for one H200: matrix products as measured on one, the rest below."""

    linear: float = 790e12
    """Of the transformer's linear layers."""
    attention: float = 650e12
    """In bf16 on long sequences with heads of 128."""
    text: float = 790e12
    convolution: float = 0.6 * 790e12
    """Of the video VAE's, in a layout that cuDNN likes: a share of the rate of matrix products."""


ASSUMED = Rates()
FLOAT8 = replace(ASSUMED, linear=1.75 * ASSUMED.linear)
"""The linear layers in 8 bits with scales for rows: short of twice the rate."""
FLOAT8_ATTENTION = replace(FLOAT8, attention=1000e12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flop:
    """Arithmetic of the transformer by the unit that does it; a multiplication and an addition are two."""

    linear: float
    attention: float

    def times(self, count: float) -> "Flop":
        return Flop(linear=self.linear * count, attention=self.attention * count)

    def seconds(self, rates: Rates) -> float:
        return self.linear / rates.linear + self.attention / rates.attention


def pass_flop(video: int, audio: int, text: int = TEXT_TOKENS) -> Flop:
    """One whole pass of the transformer over ``video``, ``audio`` and ``text`` tokens of one sample."""
    linear = (
        video * VIDEO * VIDEO * (4 + 2 + 2 * EXPANSION)  # self attention, the text's queries and output, feed-forward
        + audio * AUDIO * AUDIO * (4 + 2 + 2 * EXPANSION)
        + text * 2 * (VIDEO * VIDEO + AUDIO * AUDIO)  # the text's keys and values for both streams
        + 2
        * (2 * video * VIDEO * AUDIO + 2 * audio * AUDIO * AUDIO)  # each stream asks the other, at the sound's width
    )
    attention = video * VIDEO * (video + text) + audio * AUDIO * (audio + text) + 2 * video * audio * AUDIO
    return Flop(linear=2.0 * LAYERS * linear, attention=4.0 * LAYERS * attention)


def passes(stage: Stage, family: Family, *, shared: bool = True) -> float:
    """Whole passes that one step of ``stage`` is worth.

    ``shared``: the perturbed pass begins at the block that it perturbs, as up to there it is the conditional one.
    """
    names: frozenset[Pass] = needed(stage.video, stage.audio)
    spared = STG_BLOCK[family] / LAYERS if shared and "perturbed" in names else 0.0
    return len(names) - spared


def denoise_flop(job: Job, family: Family, *, shared: bool = True) -> Flop:
    """Of all steps of all stages."""
    each = [_stage_flop(job, stage).times(stage.steps * passes(stage, family, shared=shared)) for stage in job.stages]
    return Flop(linear=sum(flop.linear for flop in each), attention=sum(flop.attention for flop in each))


def decode_flop(family: Family, width: int, height: int, frames: int) -> float:
    pixels, counted_frames = _COUNTED_AT
    return _DECODED[family] * (width * height * frames) / (pixels * counted_frames)


def encode_flop(family: Family, width: int, height: int) -> float:
    """Of one picture."""
    return _ENCODED[family] * width * height / _COUNTED_AT[0]


def text_flop(tokens: int = TEXT_TOKENS) -> float:
    """Of one prompt, read by the text encoder."""
    return 2 * _TEXT_PARAMETERS * tokens + 4.0 * tokens * tokens * _TEXT_WIDTH * _TEXT_LAYERS


def decode_seconds(job: Job, family: Family, rates: Rates = ASSUMED) -> float:
    last = job.stages[-1]
    return decode_flop(family, last.width, last.height, last.num_frames) / rates.convolution


def floor_seconds(job: Job, family: Family, rates: Rates = ASSUMED, *, shared: bool = True) -> float:
    """Of the whole request but prompt expansion and the file's encoding."""
    texts = 2 if any("negative" in needed(stage.video, stage.audio) for stage in job.stages) else 1
    pictures = sum(encode_flop(family, stage.width, stage.height) for stage in job.stages) * len(job.keyframes)
    return (
        denoise_flop(job, family, shared=shared).seconds(rates)
        + texts * text_flop() / rates.text
        + pictures / rates.convolution
        + decode_seconds(job, family, rates)
        + _OTHER_SECONDS
    )


def _stage_flop(job: Job, stage: Stage) -> Flop:
    tokens_of_a_frame = (stage.width // 32) * (stage.height // 32)
    # A picture at the first frame takes its place; one anywhere else is as many tokens more.
    frames = (stage.num_frames - 1) // 8 + 1 + sum(keyframe.frame > 0 for keyframe in job.keyframes)
    return pass_flop(frames * tokens_of_a_frame, round(job.num_frames / job.fps * AUDIO_TOKENS_PER_SECOND))
