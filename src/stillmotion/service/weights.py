"""Which requests can share an engine's merged weights."""

import functools
import hashlib
from typing import Any

import orjson
from pydantic import BaseModel

KEY_CHARS = 16


def weights_key(request: Any) -> str:
    """A digest of the request's LoRAs and their scales; "" where the endpoint has none.

    Equal keys need equal weights. Different keys may as well (two URLs of one file), which costs a change of engine
    at most.
    """
    schema: type[BaseModel] = type(request)
    names = _choosing(schema)
    if not names:
        return ""
    chosen = {name: getattr(request, name) for name in names}
    return hashlib.sha256(orjson.dumps(chosen, default=_dumped, option=orjson.OPT_SORT_KEYS)).hexdigest()[:KEY_CHARS]


@functools.cache
def _choosing(schema: type[BaseModel]) -> tuple[str, ...]:
    """Every field that chooses weights has the word in its name, in all endpoints."""
    return tuple(name for name in schema.model_fields if "lora" in name)


def _dumped(value: object) -> object:
    assert isinstance(value, BaseModel)
    return value.model_dump(mode="json")
