"""Decoding a stranger's picture at arm's length: in a short-lived process of bounded memory and time."""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from stillmotion.errors import (
    FileTooLargeError,
    ImageLoadError,
    ImageTooLargeError,
    ImageTooSmallError,
    InputError,
    UnsupportedImageError,
)
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
    order = {"source": str(source), "target": str(target), "limits": asdict(limits), "parent": os.getpid()}
    try:
        async with asyncio.timeout(timeout):
            return _read(await _ask_child(json.dumps(order)))
    except BaseException as error:
        await asyncio.to_thread(target.unlink, missing_ok=True)
        if isinstance(error, TimeoutError):
            raise ImageLoadError("Reading the image took too long.") from None
        raise


async def _ask_child(order: str) -> bytes:
    # The order travels as an argument: writing to the stdin of a child that has just started failed once in some
    # ten thousand starts under uvloop ("the handler is closed").
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "stillmotion.media.sandbox_child", order),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is for the server, which may still finish its requests
    )
    try:
        answer, complaint = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise _broken(child.returncode, complaint)
    return answer


def _broken(returncode: int, complaint: bytes) -> Exception:
    """A child that was killed met one of its limits or crashed in a decoder: the picture is to blame. Else we are."""
    if returncode < 0:
        return ImageLoadError()
    lines = complaint.decode(errors="replace").strip().splitlines()
    return OSError(f"the image reader failed: {lines[-1] if lines else f'exit status {returncode}'}")


def _read(answer: bytes) -> ImageInfo:
    told = json.loads(answer)
    if error := told.get("error"):
        raise _ERRORS[error["type"]](error["message"], **(error["ctx"] or {}))
    return ImageInfo(**told["info"])
