"""A copy of a video that every browser plays: H.264 and AAC, at most 720 lines, with the same pictures and length."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stillmotion.media import confined

CONTENT_TYPE = "video/mp4"
PLAYED = frozenset({"video/mp4", "video/webm", "image/png"})
"""Types, among those that are made here, that browsers show as they are. A GIF they do, but nobody can stop it."""

MAX_SECONDS = 900.0
"""Ten seconds of 2160p50 ProRes, the longest there is, take 60 on two cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The box, in landscape, that a copy fits into; a portrait turns it."""

    width: int = 1280
    height: int = 720


async def write_playable(
    source: Path, target: Path, *, within: Frame = Frame(), sound: bool = True, seconds: float = MAX_SECONDS
) -> None:
    """Writes the copy of ``source`` at ``target``; leaves no file when it cannot. Raises OSError, TimeoutError."""
    order: Mapping[str, object] = {
        "source": str(source),
        "target": str(target),
        "width": within.width,
        "height": within.height,
        "sound": sound,
    }
    try:
        await confined.ask("stillmotion.media.playable_child", order, seconds=seconds)
    except BaseException:
        await asyncio.to_thread(target.unlink, missing_ok=True)
        raise
