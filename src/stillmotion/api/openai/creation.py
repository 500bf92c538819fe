"""What a client asks for: a form, as OpenAI's own clients send it, or JSON."""

import asyncio
import base64
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from stillmotion.api.json import check_object, read_object
from stillmotion.api.openai.faults import Refused

MODEL, PROMPT, SECONDS, SIZE, REFERENCE = "model", "prompt", "seconds", "size", "input_reference"
REFERENCE_URL = f"{REFERENCE}[image_url]"
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
MAX_FIELDS = 100
MAX_SECONDS = 3600.0
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A video to make, in OpenAI's words; ``more`` is in those of our own endpoints."""

    model: str | None
    prompt: str
    seconds: float | None
    size: tuple[int, int] | None
    """Width and height."""
    picture: str | None
    """URL or data URI."""
    more: Mapping[str, Any]


async def read_creation(request: Request) -> Asked:
    """Raises Refused and MalformedBody; HTTPException for a form that is none."""
    type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _read_form(request) if type in FORMS else await read_object(request)
    return Asked(
        model=text(body, MODEL),
        prompt=required_prompt(body),
        seconds=_seconds(body.get(SECONDS)),
        size=_size(text(body, SIZE)),
        picture=_picture(body.get(REFERENCE)),
        more={name: value for name, value in body.items() if name not in (MODEL, PROMPT, SECONDS, SIZE, REFERENCE)},
    )


def required_prompt(body: Mapping[str, Any]) -> str:
    prompt = text(body, PROMPT)
    if not prompt:
        raise Refused("Missing required parameter: 'prompt'.", param=PROMPT, code="missing_required_parameter")
    return prompt


def text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    raise _wrong(name, "expected a string")


async def _read_form(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    async with request.form(max_files=1, max_fields=MAX_FIELDS) as form:
        for sent, value in form.multi_items():
            name, content = await _form_field(sent, value)
            if name in fields:
                raise _wrong(name, "it was sent twice")
            fields[name] = content
    check_object(fields)
    return fields


async def _form_field(name: str, value: UploadFile | str) -> tuple[str, Any]:
    """As JSON would say it."""
    if isinstance(value, UploadFile):
        if name != REFERENCE:
            raise _wrong(name, "expected text, not a file")
        return REFERENCE, {"image_url": await _data_uri(value)}
    if name == REFERENCE_URL:
        return REFERENCE, {"image_url": value}
    if "[" in name:
        raise _wrong(name, "lists and objects can be sent as JSON only")
    return name, value


async def _data_uri(file: UploadFile) -> str:
    """The picture inside the input, as fal's programs send theirs: it lasts as long as the request does, and the same
    picture sent again is the same input."""
    content = await file.read()
    type = file.content_type or ""
    type = type if re.fullmatch(r"image/[a-z0-9.+-]{1,32}", type) else "application/octet-stream"
    encoded = await asyncio.to_thread(base64.b64encode, content)
    return f"data:{type};base64,{encoded.decode()}"


def _picture(reference: Any) -> str | None:
    if reference is None:
        return None
    if isinstance(reference, dict) and isinstance(url := reference.get("image_url"), str) and url:
        return url
    raise _wrong(REFERENCE, 'expected a file, or {"image_url": "https://… or data:…"}; there are no file ids')


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 < seconds <= MAX_SECONDS:
        raise _wrong(SECONDS, "expected a number of seconds, such as '4'")
    return seconds


def _size(value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    found = _SIZE.fullmatch(value)
    if found is None:
        raise _wrong(SIZE, "expected WIDTHxHEIGHT, such as '1280x720'")
    return int(found[1]), int(found[2])


def _wrong(name: str, why: str) -> Refused:
    return Refused(f"Invalid value for '{name}': {why}.", param=name, code="invalid_value")
