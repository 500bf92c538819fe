"""How a video was made, read from a stranger's copy of it, or from its head and tail alone."""

import json
from pathlib import Path
from typing import Any

from stillmotion.media import confined

SECONDS = 20.0


class NotMedia(ValueError):
    """None of the containers that are written here."""


async def read_embedded(path: Path) -> dict[str, Any] | None:
    """The JSON object in the file's metadata; None: a media file without one. A hole in the middle does no harm.

    Raises NotMedia, OSError, TimeoutError.
    """
    answer = await confined.ask("stillmotion.media.embedded_child", {"path": str(path)}, seconds=SECONDS)
    if not answer["media"]:
        raise NotMedia(path.name)
    try:
        value = json.loads(answer["text"] or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
