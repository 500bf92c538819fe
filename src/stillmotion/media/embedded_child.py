"""The program behind ``embedded.read_embedded``: looks at a file's metadata, decodes nothing."""

import os
from pathlib import Path
from typing import Any

import av

from stillmotion.media.confined import obey
from stillmotion.media.gif_comment import last_comment
from stillmotion.media.writer import SETTINGS_KEY

MEMORY = 1 << 30
"""Bytes of address space; the libraries map 600 MB."""
CPU_SECONDS = 5
MAX_TEXT = 1 << 20
TAIL = 1 << 19
"""Bytes at the end of a GIF in which its comment is looked for."""


def main() -> None:
    obey(_look, memory=MEMORY, cpu_seconds=CPU_SECONDS, niceness=5)


def _look(order: dict[str, Any]) -> dict[str, Any]:
    path = Path(order["path"])
    with path.open("rb") as file:
        head = file.read(16)
        if head.startswith((b"GIF87a", b"GIF89a")):
            file.seek(max(0, path.stat().st_size - TAIL), os.SEEK_SET)
            return {"media": True, "text": last_comment(file.read(TAIL))}
    format = _format(head)
    if format is None:
        return {"media": False, "text": None}
    try:
        # Of its own format alone: FFmpeg knows some that name other files and hosts.
        with av.open(str(path), format=format, options={"probesize": "65536", "analyzeduration": "0"}) as container:
            metadata = {key.lower(): value for key, value in container.metadata.items()}
    except (av.FFmpegError, UnicodeDecodeError):
        return {"media": False, "text": None}
    text = metadata.get(SETTINGS_KEY, "")
    return {"media": True, "text": text if len(text) <= MAX_TEXT else None}


def _format(head: bytes) -> str | None:
    """FFmpeg's name of the container, by its first bytes (ISO/IEC 14496-12, 4.3; RFC 8794, 8.1)."""
    if head[4:8] == b"ftyp":
        return "mov"
    return "matroska" if head.startswith(b"\x1a\x45\xdf\xa3") else None


if __name__ == "__main__":
    main()
