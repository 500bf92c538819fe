"""What a request must come to, told from the documents' words alone; nothing here knows how plans are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corpus import Source
from documented import ABSENT, Documented

# The sizes behind fal's names; "turned for portrait" holds for the tiers.
NAMED = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
TIERS = {"1080p": (1920, 1080), "1440p": (2560, 1440), "2160p": (3840, 2160)}
SUFFIXES = {"(.mp4)": "mp4", "(.webm)": "webm", "(.mov)": "mov", "(.gif)": "gif"}


@dataclass(frozen=True)
class Promise:
    """What the file must be."""

    size: tuple[int, int]
    num_frames: int
    fps: float
    audio: bool
    container: str
    quality: str
    write_mode: str
    prompt: str
    negative_prompt: str | None
    """None: the document has none."""
    acceleration: str
    expand_prompt: bool
    check_safety: bool


def promise(source: Source, body: Mapping[str, Any], image: tuple[int, int]) -> Promise:
    """``body`` in the documents' own types and names; what it leaves out has the document's default."""
    asked = {field.name: default(field) for field in source.document.input} | dict(body)
    fps = asked.get("fps", asked.get("frames_per_second"))
    container = SUFFIXES[asked.get("video_output_type", "X264 (.mp4)").split()[1]]
    return Promise(
        size=_size(asked, image),
        num_frames=asked["num_frames"] if "num_frames" in asked else asked["duration"] * fps,
        fps=fps,
        audio=asked["generate_audio"] and container != "gif",
        container=container,
        quality=asked.get("video_quality", "high"),
        write_mode=asked.get("video_write_mode", "balanced"),
        prompt=asked["prompt"],
        negative_prompt=asked.get("negative_prompt"),
        acceleration=asked.get("acceleration", "none"),
        expand_prompt=asked.get("enable_prompt_expansion", False),
        check_safety=asked.get("enable_safety_checker", True),
    )


def default(field: Documented) -> Any:
    """The value that the document says a field has when it is left out."""
    if field.default is not ABSENT:
        return field.default
    if field.told_default is ABSENT:
        # The page prints no default that is 0, false or null.
        return {"boolean": False}.get(field.type)
    told = field.told_default.strip('`"')
    convert = {"integer": int, "float": float, "boolean": "true".__eq__}
    return convert.get(field.type, str)(told)


def _size(asked: Mapping[str, Any], image: tuple[int, int]) -> tuple[int, int]:
    size = asked.get("video_size", asked.get("resolution"))
    if isinstance(size, dict):
        # Delivered exactly, but for an odd side, which video codecs do not have.
        width, height = size.get("width", 512), size.get("height", 512)
        return width + width % 2, height + height % 2
    if size in NAMED:
        return NAMED[size]
    if size in TIERS:
        aspect = asked.get("aspect_ratio", "auto")
        upright = image[1] > image[0] if aspect == "auto" else aspect == "9:16"
        return TIERS[size][::-1] if upright else TIERS[size]
    return _auto(*image)


def _auto(width: int, height: int) -> tuple[int, int]:
    """1280x720 pixels at the picture's aspect; the height down to a multiple of 32, the width to the nearest one.

    The documents' sample is 1248x704 for 16:9. Sides stay within 64 and 4096.
    """
    tall = max(64, *(side for side in range(0, 4097, 32) if side * side * width <= 1280 * 720 * height))
    wide = min(max(round(tall * width / height / 32) * 32, 64), 4096)
    return wide, tall
