"""The one table of what every container, quality and write mode mean to the encoders."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stillmotion.job import Encoding
from stillmotion.media.x264 import repeatable

Options = Mapping[str, str]
ByQuality = Mapping[Literal["low", "medium", "high", "maximum"], Options]
ByWriteMode = Mapping[Literal["fast", "balanced", "small"], ByQuality]

QUALITIES: tuple[Literal["low", "medium", "high", "maximum"], ...] = ("low", "medium", "high", "maximum")


def _graded(name: str, *values: int, **common: str) -> ByQuality:
    """``common`` at every quality, and the option ``name`` with one value for each."""
    return {quality: {name: str(value), **common} for quality, value in zip(QUALITIES, values, strict=True)}


VIDEO: Mapping[str, ByWriteMode] = {
    # x264's rate factor: 23 is its own default, 17 is taken for visually lossless. At one factor a slow preset often
    # makes the larger file (it keeps more detail), so the modes aim at like quality: fast spends bytes, small time.
    "mp4": {
        "fast": _graded("crf", 26, 21, 15, 8, preset="veryfast"),
        "balanced": _graded("crf", 28, 23, 17, 10, preset="medium"),
        "small": _graded("crf", 29, 24, 18, 11, preset="slow"),
    },
    # libvpx's constant quality (0 to 63), which holds when no bit rate is set.
    "webm": {
        "fast": _graded("crf", 40, 32, 24, 15, deadline="realtime", **{"cpu-used": "7"}),
        "balanced": _graded("crf", 40, 32, 24, 15, deadline="good", **{"cpu-used": "3"}),
        "small": _graded("crf", 41, 33, 25, 16, deadline="good", **{"cpu-used": "1"}),
    },
    # ProRes 4444. Fast takes one quantiser for all (118 is FFmpeg's lambda for a step of one); the others search the
    # best quantiser of every slice within a budget of bits per macroblock, five times as slow. Apple's own target for
    # 4444, 330 Mb/s for 1920x1080 at 29.97, is 1350.
    "mov": {
        "fast": _graded("global_quality", 6 * 118, 4 * 118, 2 * 118, 118, flags="+qscale"),
        "balanced": _graded("bits_per_mb", 600, 850, 1350, 2000),
        "small": _graded("bits_per_mb", 450, 650, 1000, 1500),
    },
    # Colours of a palette, how they are spread, and for how many pictures a palette serves. Error diffusion looks
    # best, a fixed pattern is quick, none compresses best.
    "gif": {
        "fast": _graded("max_colors", 32, 64, 128, 256, dither="bayer:bayer_scale=4", pictures="6"),
        "balanced": _graded("max_colors", 32, 64, 128, 256, dither="sierra2", pictures="1"),
        "small": _graded("max_colors", 24, 48, 96, 192, dither="none", pictures="1"),
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioCodec:
    name: str
    """FFmpeg's name of the encoder."""
    samples: str
    """The sample format that it takes."""
    block: int
    """Samples that it is given at once: a frame of the codec where it has frames."""
    sample_rate: int | None = None
    """Hz; None: that of the sound."""
    bits_per_channel: int | None = None
    """Per second; None for sound that is not compressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """How a container with tracks is made: FFmpeg's names."""

    format: str
    video: str
    pixels: str
    """Format of the pictures in the file; they arrive as yuv420p."""
    audio: AudioCodec
    common: Options
    """Options of the video encoder at every quality and in every mode."""
    muxer: Options
    movie_clock: bool
    """Whether the muxer has a clock of its own for the lengths of the tracks, which would round them."""


TRACKS: Mapping[str, Tracks] = {
    "mp4": Tracks(
        format="mp4",
        video="libx264",
        pixels="yuv420p",
        # FFmpeg's AAC-LC is transparent to most listeners at 96 kb/s per channel, Opus at 64.
        audio=AudioCodec(name="aac", samples="fltp", block=1024, bits_per_channel=96_000),
        common={},
        muxer={"movflags": "+faststart"},
        movie_clock=True,
    ),
    "webm": Tracks(
        format="webm",
        video="libvpx-vp9",
        pixels="yuv420p",
        audio=AudioCodec(name="libopus", samples="flt", block=960, sample_rate=48_000, bits_per_channel=64_000),
        common={"b": "0", "row-mt": "1", "tile-columns": "2"},
        # Without the flag every file gets a random number of its own: two equal works would differ.
        muxer={"fflags": "+bitexact"},
        movie_clock=False,
    ),
    "mov": Tracks(
        format="mov",
        video="prores_ks",
        # The fourth 4 is an alpha channel: opaque here. It costs 1 % of the file.
        pixels="yuva444p10le",
        audio=AudioCodec(name="pcm_s16le", samples="s16", block=1024),
        common={"profile": "4444", "vendor": "apl0"},
        # QuickTime's older text fields end at 64 kB.
        muxer={"movflags": "+use_metadata_tags"},
        movie_clock=True,
    ),
}
"""The containers with a video and an audio track; a GIF has neither."""


def video_options(encoding: Encoding) -> dict[str, str]:
    """The encoder's options for ``encoding``, as FFmpeg (or, for a GIF, its palette filters) takes them."""
    tracks = TRACKS.get(encoding.container)
    chosen = VIDEO[encoding.container][encoding.write_mode][encoding.quality]
    repeat = repeatable() if encoding.container == "mp4" else {}
    return {**(tracks.common if tracks else {}), **chosen, **repeat}
