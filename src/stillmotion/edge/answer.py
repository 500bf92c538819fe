"""JSON answers that the edge gives by itself, as ASGI messages."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import Message, Send


def start(status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> Message:
    """The first message of a JSON response whose whole body is ``body``."""
    length = str(len(body)).encode()
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", b"application/json"), (b"content-length", length), *headers],
    }


def encode(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()


async def send_json(send: Send, status: int, content: Mapping[str, Any]) -> None:
    """Sends one whole response."""
    body = encode(content)
    await send(start(status, body))
    await send({"type": "http.response.body", "body": body})
