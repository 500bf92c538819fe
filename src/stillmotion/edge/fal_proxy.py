"""``/api/fal/proxy``: what the JavaScript client's ``proxyUrl`` names. The URL that is meant stands in a header.

The request becomes the one that is meant, in this process: bodies and events stream, limits and errors are those of the
real path. It stays one to this origin, so the URLs of files in its answer are too: those the client fetches directly,
while it makes those of requests itself and sends them through here again.
"""

from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from stillmotion.edge.answer import send_json
from stillmotion.edge.fal_hosts import is_fals, prefix_of

PATH = "/api/fal/proxy"
TARGET = b"x-fal-target-url"
METHODS = ("GET", "POST", "PUT", "DELETE")


class FalProxy:
    """Answers 400 when the header is missing, or names no https URL of fal's."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["path"].rstrip("/") == PATH
        if not asked or scope["method"] not in METHODS:
            await self.app(scope, receive, send)
        elif (meant := _meant(scope)) is None:
            await send_json(send, 400, {"detail": "Invalid request"})
        else:
            await self.app(meant, receive, send)


def _meant(scope: Scope) -> Scope | None:
    """The request that the header stands for; None if it is not one of fal's."""
    targets = [value.decode("latin-1") for name, value in scope["headers"] if name == TARGET]
    if len(targets) != 1 or not targets[0].isascii():
        return None
    try:
        parts = urlsplit(targets[0])
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if parts.scheme != "https" or port not in (None, 443) or parts.username is not None or not is_fals(host):
        return None
    path = prefix_of(host) + (parts.path or "/")
    return {
        **scope,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(name, value) for name, value in scope["headers"] if name != TARGET],
    }
