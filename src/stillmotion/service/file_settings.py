"""How a video was made, as text for the file itself: what it takes to run it again."""

from collections.abc import Mapping
from typing import Any

import orjson

from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.job import Job
from stillmotion.service.signed_urls import without_signature

MAX_BYTES = 16 << 10
"""Players read a file's metadata before its first frame; a request without data URIs takes a tenth of this."""


def made_with(endpoint: Endpoint, raw: Mapping[str, Any], job: Job) -> str | None:
    """Compact JSON ``{"endpoint", "model", "input"}``, the input as given plus the seed that was used.

    Data URIs are left out: they would put the picture into the file a second time. So are signatures of our own URLs:
    whoever may see the video may not see what it was made from. None when it is too long still.
    """
    settings = {"endpoint": endpoint.id, "model": job.model, "input": {**_without_data(raw), "seed": job.seed}}
    text = orjson.dumps(settings)
    return text.decode() if len(text) <= MAX_BYTES else None


def _without_data(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_data(item) for name, item in value.items() if not _is_data(item)}
    if isinstance(value, list):
        return [_without_data(item) for item in value if not _is_data(item)]
    return without_signature(value) if isinstance(value, str) else value


def _is_data(value: Any) -> bool:
    return isinstance(value, str) and value[:5].lower() == "data:"
