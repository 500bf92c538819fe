"""Decoding a stranger's picture at arm's length: in a short-lived process of bounded memory and time."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stillmotion.errors import (
    FileTooLargeError,
    ImageLoadError,
    ImageTooLargeError,
    ImageTooSmallError,
    InputError,
    UnsupportedImageError,
)
from stillmotion.media.confined import ChildFailed, ask
from stillmotion.media.image import ImageInfo, ImageLimits

_ERRORS: dict[str, type[InputError]] = {
    kind.type: kind
    for kind in (FileTooLargeError, ImageLoadError, ImageTooLargeError, ImageTooSmallError, UnsupportedImageError)
}


async def normalise(source: Path, target: Path, limits: ImageLimits, *, timeout: float = 30) -> ImageInfo:
    """Writes ``source`` to ``target`` as an upright RGB PNG; the info is that of ``source`` before any shrinking.

    A picture with a side of more than 4096 is shrunk to that. Raises the errors of ``image.decode``; a file whose
    decoding takes more than ``timeout`` seconds, 20 seconds of processor time or 1.5 GB is an ImageLoadError. OSError
    for what is no fault of the picture (no such file, disk full). No target is left behind by a failure.
    """
    order = {"source": str(source), "target": str(target), "limits": asdict(limits)}
    try:
        return _read(await ask("stillmotion.media.sandbox_child", order, seconds=timeout))
    except BaseException as error:
        await asyncio.to_thread(target.unlink, missing_ok=True)
        if isinstance(error, TimeoutError):
            raise ImageLoadError("Reading the image took too long.") from None
        if isinstance(error, ChildFailed):
            # One that was killed met one of its limits or crashed in a decoder: the picture is to blame. Else we are.
            raise ImageLoadError() if error.killed else OSError(f"the image reader failed: {error}") from None
        raise


def _read(told: Mapping[str, Any]) -> ImageInfo:
    if error := told.get("error"):
        raise _ERRORS[error["type"]](error["message"], **(error["ctx"] or {}))
    return ImageInfo(**told["info"])
