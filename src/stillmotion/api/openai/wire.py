"""OpenAI's objects: a request of ours as a video, an endpoint as a model."""

import re
import uuid
from typing import Any

from stillmotion.api import wire
from stillmotion.api.faults import error_type
from stillmotion.api.openai.faults import parameter
from stillmotion.job import Progress
from stillmotion.service.history import Item
from stillmotion.store.records import Error, State

STATUSES: dict[State, str] = {
    "queued": "queued",
    "running": "in_progress",
    "done": "completed",
    "failed": "failed",
    "cancelled": "failed",
}
UNKNOWN = "auto"
"""A size or a length that depends on the picture, until there is a video."""
MODEL_TAG, SECONDS_TAG, SIZE_TAG, REMIXED_TAG = (
    f"openai.{name}" for name in ("model", "seconds", "size", "remixed_from")
)
"""Tags of a request, in which it says how it was asked for."""
PREFIX = "video_"
_ID = re.compile(rf"(?:{PREFIX})?([0-9a-f]{{32}}|[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})")


def video_id(request_id: str) -> str:
    return PREFIX + uuid.UUID(request_id).hex


def request_id(video_id: str) -> str | None:
    """The request that a video's id, or its own, means; None: it cannot be one."""
    found = _ID.fullmatch(video_id)
    return str(uuid.UUID(found[1])) if found else None


def video(item: Item, progress: Progress | None = None) -> dict[str, Any]:
    request, tags = item.request, item.request.tags
    source = tags.get(REMIXED_TAG)
    return {
        "id": video_id(request.id),
        "object": "video",
        "created_at": int(request.created_at),
        "completed_at": None if request.ended_at is None else int(request.ended_at),
        "expires_at": None,
        "model": tags.get(MODEL_TAG, request.endpoint),
        "progress": _percent(request.state, progress),
        "prompt": item.prompt,
        "remixed_from_video_id": source,
        "seconds": _seconds(item) or tags.get(SECONDS_TAG, UNKNOWN),
        "size": f"{item.width}x{item.height}" if item.width else tags.get(SIZE_TAG, UNKNOWN),
        "status": STATUSES[request.state],
        "error": _error(request.error) if request.error else None,
    }


def page(items: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }


def model(name: str) -> dict[str, Any]:
    """Nobody knows when a name was made, so all of them are as old as time."""
    return {"id": name, "object": "model", "created": 0, "owned_by": name.partition("/")[0]}


def seconds_text(seconds: float) -> str:
    """``4`` and not ``4.0``: the clients' own types are whole numbers as text."""
    return f"{seconds:.2f}".rstrip("0").rstrip(".")


def _seconds(item: Item) -> str | None:
    return seconds_text(item.num_frames / item.fps) if item.num_frames and item.fps else None


def _percent(state: State, progress: Progress | None) -> int:
    if state == "done":
        return 100
    # Decoding is still to come after the last step.
    return min(99, int(100 * wire.fraction(progress))) if progress else 0


def _error(error: Error) -> dict[str, Any]:
    param = parameter(error.details[0]["loc"]) if error.details else None
    return {"code": error_type(error), "message": error.message, "param": param}
