"""Seconds and pixels, said the same way for every endpoint, in the words of an endpoint's own input."""

import typing
from collections.abc import Mapping
from typing import Any

from stillmotion.endpoints.canvas import TIERS
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.endpoints.vocabulary import ImageSize
from stillmotion.errors import Detail, ValidationError

RATES = ("fps", "frames_per_second")
SIZES = ("video_size", "resolution")
SECONDS, SIZE = "seconds", "size"
MEANS: Mapping[str, str] = {"num_frames": SECONDS, "duration": SECONDS, **dict.fromkeys(SIZES, SIZE)}
"""What a field of an endpoint is about."""


def clip_input(
    endpoint: Endpoint, given: Mapping[str, Any], *, seconds: float | None, size: tuple[int, int] | None
) -> dict[str, Any]:
    """``given``, which is in the endpoint's own words, and fields for a length and a width and height.

    None of them is checked, but that the endpoint has such a field. Raises ValidationError at ``seconds`` or ``size``.
    """
    fields = dict(given)
    if seconds is not None:
        fields |= _length(endpoint, given, seconds)
    if size is not None:
        fields |= _size(endpoint, size)
    return fields


def _length(endpoint: Endpoint, given: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    fields = endpoint.input.model_fields
    if "duration" in fields:
        return {"duration": int(seconds) if seconds.is_integer() else seconds}
    rate = next((name for name in RATES if name in fields), None)
    if rate is None or "num_frames" not in fields:
        raise _unfit(SECONDS, f"{endpoint.id} has no length")
    fps = given.get(rate, fields[rate].default)
    try:
        return {"num_frames": round(seconds * float(fps))}
    except (TypeError, ValueError, OverflowError):
        # The rate is at fault, which the schema tells better.
        return {}


def _size(endpoint: Endpoint, size: tuple[int, int]) -> dict[str, Any]:
    fields = endpoint.input.model_fields
    name = next((name for name in SIZES if name in fields), None)
    if name is None:
        raise _unfit(SIZE, f"{endpoint.id} has no size")
    if ImageSize in typing.get_args(fields[name].annotation):
        return {name: {"width": size[0], "height": size[1]}}
    tier = next((tier for tier, landscape in TIERS.items() if size in (landscape, landscape[::-1])), None)
    if tier is None:
        possible = ", ".join(f"{width}x{height} and {height}x{width}" for width, height in TIERS.values())
        raise _unfit(SIZE, f"{endpoint.id} makes {possible}")
    # Without the field, the picture decides whether the video lies or stands.
    aspect = {"aspect_ratio": "16:9" if size == TIERS[tier] else "9:16"} if "aspect_ratio" in fields else {}
    return {name: tier, **aspect}


def _unfit(field: str, message: str) -> ValidationError:
    return ValidationError((Detail(loc=("body", field), msg=message, type="value_error"),))
