"""Stored files over HTTP: immutable, with ranges for players, and never as anything but what they are."""

import time
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from stillmotion.api.access import admit
from stillmotion.service.service import Service
from stillmotion.service.uploads import Uploads
from stillmotion.store.records import StoredFile

YEAR = 365 * 24 * 3600
SHOWN = ("audio/", "image/", "video/", "text/plain", "application/json")
"""Types that a browser shows where a link leads to them; it saves the others, which may be documents with scripts."""


def routes(service: Service, uploads: Uploads) -> list[Route]:
    async def get(request: Request) -> Response:
        path, stored = await service.file(request.path_params["name"])
        return file_response(request, path, stored, public=await admit(service, uploads, request, stored))

    # The second for programs that reach us under the names of fal's file hosts.
    return [Route(path, get, methods=["GET"]) for path in ("/files/{name}", "/cdn/files/{name}")]


def file_response(request: Request, path: Path, stored: StoredFile, *, public: bool) -> Response:
    """The file at ``path``, or the range of it or the word that it is unchanged, whichever was asked for.

    One that is not ``public`` may be kept by its reader alone, who has to ask each time whether he still may.
    """
    headers = {
        # A name is never reused, so it identifies the content.
        "etag": f'"{path.stem}"',
        "cache-control": f"public, max-age={_seconds_left(stored)}, immutable" if public else "private, no-cache",
        # Not left to the framework, which adds a charset to text of which nobody knows it.
        "content-type": stored.content_type,
        "x-content-type-options": "nosniff",
        # Should a browser ever open one as a document, it may run nothing.
        "content-security-policy": "sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
        "cross-origin-resource-policy": "cross-origin",
    }
    if _is_named(headers["etag"], request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    shown = stored.content_type.startswith(SHOWN) and not stored.content_type.startswith("image/svg")
    return FileResponse(
        path,
        headers=headers,
        filename=stored.file_name or path.name,
        content_disposition_type="inline" if shown else "attachment",
    )


def _seconds_left(stored: StoredFile) -> int:
    return YEAR if stored.expires_at is None else min(YEAR, max(0, int(stored.expires_at - time.time())))


def _is_named(etag: str, header: str) -> bool:
    """Whether ``If-None-Match`` names the entity; a weak validator does too (RFC 9110, 13.1.2)."""
    return any(each.strip().removeprefix("W/") in ("*", etag) for each in header.split(","))
