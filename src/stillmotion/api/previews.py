"""Preview pictures on the wire: inside an event as a data URI, or by themselves."""

import base64
import hashlib

from starlette.requests import Request
from starlette.responses import Response

TYPE = "image/jpeg"


def data_uri(picture: bytes) -> str:
    return f"data:{TYPE};base64,{base64.b64encode(picture).decode()}"


def preview_response(request: Request, picture: bytes) -> Response:
    """``picture``, or the word that it is the one that the client has: there will be another soon."""
    headers = {
        "etag": f'"{hashlib.sha256(picture).hexdigest()[:32]}"',
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(picture, headers=headers, media_type=TYPE)
