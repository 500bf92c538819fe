"""Which requests can share an engine's merged weights."""

import hashlib
from typing import Any

import orjson

KEY_CHARS = 16


def weights_key(request: Any) -> str:
    """A digest of the request's LoRAs and their scales; "" where the endpoint has none.

    Equal keys need equal weights. Different keys may as well (two URLs of one file), which costs a change of engine
    at most.
    """
    # Every field that chooses weights has the word in its name, in all endpoints.
    names = {name for name in type(request).model_fields if "lora" in name}
    if not names:
        return ""
    chosen = request.model_dump(mode="json", include=names)
    return hashlib.sha256(orjson.dumps(chosen, option=orjson.OPT_SORT_KEYS)).hexdigest()[:KEY_CHARS]
