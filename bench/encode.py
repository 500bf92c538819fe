"""How fast finished frames become an MP4 file: ``Mp4Writer`` against the ffmpeg command line.

Both encode the same moving photographs at 1920x1088 with libx264, preset veryfast, CRF 17, on all cores. The peer is
what a program without an encoder of its own does: raw rgb24 down a pipe. The same peer fed yuv420p is measured too,
since that is where most of the difference lies, and so is our writer when the CPU has to convert from RGB first (the
engine hands over planes that the GPU made). The variants take turns; a ratio is the median of the rounds' own ratios,
so that a busy machine disturbs both sides alike.

    python bench/encode.py
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from stillmotion.job import Encoding
from stillmotion.media.mp4 import CRF, PRESET, Mp4Writer
from stillmotion.media.yuv import planar

WIDTH, HEIGHT, FPS = 1920, 1088, 25
ENCODING = Encoding(quality="high", write_mode="fast")
PHOTOGRAPHS = sorted((Path(__file__).parents[1] / "examples").glob("*.[pj][np]g"))
STEP = 3
"""Pixels that the window moves per frame, in both directions."""

Bytes = npt.NDArray[np.uint8]


def bench(*, frames: int = 60, rounds: int = 5) -> dict[str, Any]:
    """Frames per second of each variant, and ratios to the command line. FileNotFoundError without ffmpeg on PATH."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise FileNotFoundError("the peer of this benchmark, the ffmpeg command line, is not on PATH")
    rgb = moving_photographs(frames)
    yuv = planar(rgb)
    with tempfile.TemporaryDirectory() as folder:
        outputs = {name: Path(folder) / f"{name}.mp4" for name in ("ours", "ours_rgb", "cli_rgb", "cli_yuv")}
        variants: dict[str, Callable[[], None]] = {
            "ours": lambda: _write(outputs["ours"], lambda: yuv),
            "ours_rgb": lambda: _write(outputs["ours_rgb"], lambda: planar(rgb)),
            "cli_rgb": lambda: _pipe(ffmpeg, outputs["cli_rgb"], rgb, "rgb24"),
            "cli_yuv": lambda: _pipe(ffmpeg, outputs["cli_yuv"], yuv, "yuv420p"),
        }
        seconds = _take_turns(variants, rounds)
        quality = {name: _luma_psnr(path, yuv) for name, path in outputs.items()}
        sizes = {name: path.stat().st_size for name, path in outputs.items()}
    return {
        "frames": frames,
        "rounds": rounds,
        "fps": {name: frames / statistics.median(times) for name, times in seconds.items()},
        "ratio_rgb": _ratio(seconds["cli_rgb"], seconds["ours"]),
        "ratio_yuv": _ratio(seconds["cli_yuv"], seconds["ours"]),
        "ratio_both_rgb": _ratio(seconds["cli_rgb"], seconds["ours_rgb"]),
        "psnr": quality,
        "bytes": sizes,
        "ffmpeg": subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout.split()[2],
        "library": av.ffmpeg_version_info,
    }


def moving_photographs(frames: int) -> Bytes:
    """``(frames, HEIGHT, WIDTH, 3)``: a window that glides over mirrored tiles of the photographs, under fresh grain.

    Grain (a deviation of 1.5 levels) is what keeps a camera's or a model's frames from being exact copies of each
    other; without it the encoder has hardly anything to do and the conversion decides everything.
    """
    canvas = _mosaic(WIDTH + STEP * frames, HEIGHT + STEP * frames)
    random = np.random.default_rng(0)
    grain = random.normal(0, 1.5, (HEIGHT + 256, WIDTH + 256, 1)).round().astype(np.int16)
    result = np.empty((frames, HEIGHT, WIDTH, 3), np.uint8)
    for index, frame in enumerate(result):
        corner, (y, x) = STEP * index, random.integers(0, 256, 2)
        window = canvas[corner : corner + HEIGHT, corner : corner + WIDTH]
        frame[:] = np.clip(window + grain[y : y + HEIGHT, x : x + WIDTH], 0, 255)
    return result


def _mosaic(width: int, height: int, tile: int = 400) -> npt.NDArray[np.int16]:
    canvas = np.zeros((height, width, 3), np.int16)
    pictures = [np.asarray(Image.open(path).convert("RGB").resize((tile, tile))) for path in PHOTOGRAPHS]
    for row in range(0, height, tile):
        for column in range(0, width, tile):
            picture = pictures[(row + column) // tile % len(pictures)]
            mirrored = picture[:: 1 - 2 * (row // tile % 2), :: 1 - 2 * (column // tile % 2)]
            part = canvas[row : row + tile, column : column + tile]
            part[:] = mirrored[: part.shape[0], : part.shape[1]]
    return canvas


def _write(path: Path, frames: Callable[[], Bytes]) -> None:
    with Mp4Writer(path, WIDTH, HEIGHT, Fraction(FPS), ENCODING, sample_rate=None) as writer:
        writer.write(frames())


def _pipe(ffmpeg: str, path: Path, frames: Bytes, pixels: str) -> None:
    source = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-"]
    codec = ["-c:v", "libx264", "-preset", PRESET[ENCODING.write_mode], "-crf", str(CRF[ENCODING.quality])]
    colours = ["-colorspace", "bt709", "-color_range", "tv"]
    # Without the filter the command line would convert RGB with BT.601's matrix.
    colours += ["-vf", "scale=out_color_matrix=bt709:out_range=tv"] if pixels == "rgb24" else []
    target = ["-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)]
    command = [ffmpeg, "-y", "-loglevel", "error", *source, *codec, *colours, *target]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for frame in frames:
            process.stdin.write(frame.data)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def _take_turns(variants: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of every variant in every round; each begins another round, so that none always goes first."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            variants[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(their / our for their, our in zip(theirs, ours, strict=True))


def _luma_psnr(path: Path, source: Bytes) -> float:
    """Decibels between the file's luma and the planes that our writer was given."""
    with av.open(str(path)) as container:
        errors = [
            float(((frame.to_ndarray()[:HEIGHT].astype(np.int16) - planes[:HEIGHT]) ** 2).mean())
            for frame, planes in zip(container.decode(video=0), source, strict=True)
        ]
    return float(10 * np.log10(255**2 / np.mean(errors)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    try:
        result = bench(frames=arguments.frames, rounds=arguments.rounds)
    except FileNotFoundError as error:
        sys.exit(f"not measured: {error}")
    fps, psnr, size = result["fps"], result["psnr"], result["bytes"]
    sys.stdout.write(
        f"| MP4 encode, {WIDTH}x{HEIGHT}, x264 veryfast CRF 17 | {fps['ours']:.1f} fps"
        f" | ffmpeg {result['ffmpeg']} fed rgb24: {fps['cli_rgb']:.1f} fps | {result['ratio_rgb']:.2f}x"
        f" | fed yuv420p: {fps['cli_yuv']:.1f} fps, {result['ratio_yuv']:.2f}x;"
        f" both from rgb24: {fps['ours_rgb']:.1f} fps, {result['ratio_both_rgb']:.2f}x;"
        f" PSNR {psnr['ours']:.2f} / {psnr['cli_rgb']:.2f} / {psnr['cli_yuv']:.2f} dB,"
        f" {size['ours'] / 1e6:.2f} / {size['cli_rgb'] / 1e6:.2f} / {size['cli_yuv'] / 1e6:.2f} MB"
        f" (ours, rgb24, yuv420p); FFmpeg libraries {result['library']};"
        f" {result['frames']} frames, {result['rounds']} rounds |\n"
    )


if __name__ == "__main__":
    main()
