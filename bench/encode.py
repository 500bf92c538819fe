"""How fast finished frames become a file, per container: our writer against the ffmpeg command line.

Both encode the same moving photographs with the same settings (those of ``codecs.video_options``) on all cores. The
peer is what a program without an encoder of its own does: raw frames down a pipe, yuv420p as ours gets them; for MP4
rgb24 is measured too, since that is what such a program has. The variants take turns; a ratio is the median of the
rounds' own ratios, so that a busy machine disturbs both sides alike.

    python -m bench encode
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from PIL import Image

from stillmotion.job import Encoding
from stillmotion.media.codecs import TRACKS, VIDEO, video_options
from stillmotion.media.containers import open_writer
from stillmotion.media.yuv import planar

FPS = 25
PHOTOGRAPHS = sorted((Path(__file__).parents[1] / "examples").glob("*.[pj][np]g"))
STEP = 3
"""Pixels that the window moves per frame, in both directions."""

MEMORY_WIDTH, MEMORY_HEIGHT, MEMORY_FRAMES = 1920, 1080, (121, 481)

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one container is measured at."""

    container: Literal["mp4", "webm", "mov", "gif"]
    write_mode: Literal["fast", "balanced", "small"]
    width: int
    height: int
    frames: int
    goal: float
    """Of our speed to the command line's, fed rgb24 for MP4 and yuv420p for the others."""

    @property
    def encoding(self) -> Encoding:
        return Encoding(container=self.container, quality="high", write_mode=self.write_mode)


CASES = (
    Case(container="mp4", write_mode="fast", width=1920, height=1088, frames=60, goal=1.2),
    Case(container="webm", write_mode="fast", width=1280, height=720, frames=48, goal=0.95),
    Case(container="webm", write_mode="balanced", width=640, height=360, frames=32, goal=0.95),
    Case(container="mov", write_mode="fast", width=1920, height=1080, frames=24, goal=0.95),
    Case(container="mov", write_mode="balanced", width=1280, height=720, frames=12, goal=0.95),
    Case(container="gif", write_mode="balanced", width=640, height=360, frames=24, goal=0.95),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Of each variant (``ours``, ``cli``, for MP4 also ``cli_rgb``): frames a second, decibels and bytes."""

    case: Case
    rates: Mapping[str, float]
    ratios: Mapping[str, float]
    """Of ours to each command line."""
    psnr: Mapping[str, float]
    """Of the decoded RGB pictures against those that went in."""
    sizes: Mapping[str, int]


def find_ffmpeg() -> str:
    """Path of the peer. Raises FileNotFoundError."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise FileNotFoundError("the peer of this benchmark, the ffmpeg command line, is not on PATH")
    return ffmpeg


def bench(case: Case, *, rounds: int = 5) -> Found:
    """FileNotFoundError without ffmpeg on PATH."""
    ffmpeg = find_ffmpeg()
    rgb = moving_photographs(case.frames, case.width, case.height)
    yuv = planar(rgb)
    sources: dict[str, tuple[Bytes, str]] = {"cli": (yuv, "yuv420p")}
    if case.container == "mp4":
        sources["cli_rgb"] = (rgb, "rgb24")
    with tempfile.TemporaryDirectory() as folder:
        outputs = {name: Path(folder) / f"{name}.{case.container}" for name in ("ours", *sources)}
        variants: dict[str, Callable[[], None]] = {"ours": lambda: _write(outputs["ours"], yuv, case.encoding)}
        for name, (frames, pixels) in sources.items():
            command = _command(ffmpeg, case, pixels, outputs[name])
            variants[name] = lambda command=command, frames=frames: _pipe(command, frames)
        seconds = _take_turns(variants, rounds)
        return Found(
            case=case,
            rates={name: case.frames / statistics.median(times) for name, times in seconds.items()},
            ratios={name: _ratio(seconds[name], seconds["ours"]) for name in sources},
            psnr={name: _psnr(path, yuv) for name, path in outputs.items()},
            sizes={name: path.stat().st_size for name, path in outputs.items()},
        )


def seconds_by_mode(container: str, *, rounds: int = 3) -> dict[str, float]:
    """Median seconds that each write mode takes for 24 pictures of 640x360 in high quality."""
    yuv = planar(moving_photographs(24, 640, 360))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v"
        variants: dict[str, Callable[[], None]] = {}
        for mode in VIDEO["mp4"]:
            how = Encoding(container=container, quality="high", write_mode=mode)
            variants[mode] = lambda how=how: _write(path, yuv, how)
        return {mode: statistics.median(times) for mode, times in _take_turns(variants, rounds).items()}


def versions(ffmpeg: str) -> tuple[str, str]:
    """Of the command line, and of the libraries that our writer calls."""
    told = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout
    return told.split()[2], av.ffmpeg_version_info


def peak_memory(container: str, frames: int) -> float:
    """MB that a process held at most, as the kernel counted, while it wrote ``frames`` pictures of 1920x1080."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.encode", container, str(frames), str(Path(folder) / "v")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return float(done.stdout)


def moving_photographs(frames: int, width: int, height: int) -> Bytes:
    """``(frames, height, width, 3)``: a window that glides over mirrored tiles of the photographs, under fresh grain.

    Grain (a deviation of 1.5 levels) is what keeps a camera's or a model's frames from being exact copies of each
    other; without it the encoder has hardly anything to do and the conversion decides everything.
    """
    canvas = _mosaic(width + STEP * frames, height + STEP * frames)
    random = np.random.default_rng(0)
    grain = random.normal(0, 1.5, (height + 256, width + 256, 1)).round().astype(np.int16)
    result = np.empty((frames, height, width, 3), np.uint8)
    for index, frame in enumerate(result):
        corner, (y, x) = STEP * index, random.integers(0, 256, 2)
        window = canvas[corner : corner + height, corner : corner + width]
        frame[:] = np.clip(window + grain[y : y + height, x : x + width], 0, 255)
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


def _write(path: Path, yuv: Bytes, how: Encoding) -> None:
    _, rows, width = yuv.shape
    with open_writer(path, width, rows * 2 // 3, Fraction(FPS), how, sample_rate=None) as writer:
        writer.write(yuv)


def _command(ffmpeg: str, case: Case, pixels: str, path: Path) -> list[str]:
    size = f"{case.width}x{case.height}"
    source = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", size, "-r", str(FPS), "-i", "-"]
    if case.container == "gif":
        return [ffmpeg, "-y", "-loglevel", "error", *source, "-lavfi", _palette_filters(case), str(path)]
    tracks, options = TRACKS[case.container], video_options(case.encoding)
    quantiser = options.pop("global_quality", None)
    if quantiser:  # the command line's own word for it
        options.pop("flags")
        options["q"] = str(int(quantiser) // 118)
    words = [word for name, value in options.items() for word in (f"-{name}:v", value)]
    colours = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    # Without the filter the command line would convert RGB with BT.601's matrix.
    colours += ["-vf", "scale=out_color_matrix=bt709:out_range=tv"] if pixels == "rgb24" else []
    muxer = [word for name, value in tracks.muxer.items() for word in (f"-{name}", value)]
    target = ["-c:v", tracks.video, *words, *colours, "-pix_fmt", tracks.pixels, *muxer, str(path)]
    return [ffmpeg, "-y", "-loglevel", "error", *source, *target]


def _palette_filters(case: Case) -> str:
    """The command line's own palettes of as many colours, one for every picture as ours, and its own dithering."""
    options = video_options(case.encoding)
    assert options["pictures"] == "1", "the command line has no palette for a number of pictures"
    convert = "scale=in_color_matrix=bt709:in_range=tv:flags=bicubic+full_chroma_int+accurate_rnd,format=bgra"
    find = f"palettegen=max_colors={options['max_colors']}:reserve_transparent=0:stats_mode=single"
    return f"{convert},split[a][b];[a]{find}[p];[b][p]paletteuse=new=1"


def _pipe(command: list[str], frames: Bytes) -> None:
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for frame in frames:
            process.stdin.write(frame.data)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def _take_turns(variants: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
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


def _psnr(path: Path, yuv: Bytes) -> float:
    with av.open(str(path)) as container:
        errors = [
            float(((_rgb(frame) - _rgb(av.VideoFrame.from_ndarray(planes, format="yuv420p"))) ** 2).mean())
            for frame, planes in zip(container.decode(video=0), yuv, strict=True)
        ]
    return float(10 * np.log10(255**2 / np.mean(errors)))


def _rgb(frame: av.VideoFrame) -> npt.NDArray[Any]:
    if frame.format.name.startswith("yuv"):  # not every version of the command line says so in every container
        frame.colorspace, frame.color_range = Colorspace.ITU709, ColorRange.MPEG
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    picture = frame.reformat(format="rgb24", dst_color_range=ColorRange.JPEG, interpolation=exact)
    return picture.to_ndarray().astype(np.int32)


def _write_and_tell(container: str, frames: int, path: str) -> None:
    """What a child of ``peak_memory`` does: frames are made one by one, so that what grows is the writer's."""
    planes = planar(moving_photographs(4, MEMORY_WIDTH, MEMORY_HEIGHT))
    how = Encoding(container=container, quality="high", write_mode="fast")
    with open_writer(path, MEMORY_WIDTH, MEMORY_HEIGHT, Fraction(FPS), how, sample_rate=None) as writer:
        for index in range(frames):
            writer.write(planes[index % 4][None])
    status = Path("/proc/self/status").read_text()
    sys.stdout.write(str(int(status.split("VmHWM:")[1].split()[0]) / 1024))


if __name__ == "__main__":
    _write_and_tell(sys.argv[1], int(sys.argv[2]), sys.argv[3])
