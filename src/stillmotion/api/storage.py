"""fal's storage: tokens, files that come whole or in parts, in the dialects of both clients, and reading them back.

The Python client takes a token and sends to the CDN; parts go below the file's own URL, and it reads their ETags from
the header. The JavaScript client asks for a URL to send to, which it knows nothing about and authenticates nowhere; it
reads the ETags from the body. Both call what they have made by the same URL in the end.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from stillmotion.api.access import admit
from stillmotion.api.callers import tenant
from stillmotion.api.files import file_response
from stillmotion.api.json import json_response, read_object
from stillmotion.api.origins import origins
from stillmotion.api.storage_requests import file_name, initial_acl, lifetime, listed_parts, read_body, text_field
from stillmotion.errors import FileTooLargeError, Unauthorized
from stillmotion.service.service import Service
from stillmotion.service.uploads import Described, Owned, Uploads

Handler = Callable[[Request], Awaitable[Response]]

_FILE = "/files/b/{shard}/{name}"
_WHOLE = re.compile(r"/cdn/(files/upload|uploads/[^/]+)")
_PART = re.compile(r"/cdn/(files/b/[^/]+/[^/]+/multipart|uploads)/[^/]+/[^/]+")


def routes(service: Service, uploads: Uploads) -> list[Route]:
    storage = _Storage(service, uploads)
    parts = f"/cdn{_FILE}/multipart/{{id}}"
    found: list[tuple[str, str, Handler]] = [
        ("POST", "/rest/storage/auth/token", storage.token),
        ("POST", "/rest/storage/upload/initiate", storage.initiate),
        ("POST", "/rest/storage/upload/initiate-multipart", storage.initiate_multipart),
        ("POST", "/cdn/files/upload", storage.upload),
        ("POST", "/cdn/files/upload/multipart", storage.begin),
        ("PUT", f"{parts}/{{number:int}}", storage.put_part),
        ("POST", f"{parts}/complete", storage.complete),
        ("PUT", "/cdn/uploads/{id}", storage.fill),
        ("PUT", "/cdn/uploads/{id}/{number:int}", storage.put_part),
        ("POST", "/cdn/uploads/{id}/complete", storage.complete),
        ("GET", f"/cdn{_FILE}", storage.get),
        ("GET", _FILE, storage.get),
    ]
    return [Route(path, _bounded(handler), methods=[method]) for method, path, handler in found]


def storage_body_limit(*, whole: int, part: int, other: int) -> Callable[[Scope], int]:
    """The longest body, in bytes, that a request below ``/cdn`` may have: files and parts are streamed, JSON is not."""

    def limit(scope: Scope) -> int:
        path, method = scope["path"], scope["method"]
        if method == "PUT" and _PART.fullmatch(path):
            return part
        return whole if method in ("PUT", "POST") and _WHOLE.fullmatch(path) else other

    return limit


class _Storage:
    def __init__(self, service: Service, uploads: Uploads) -> None:
        self._service = service
        self._uploads = uploads

    async def token(self, request: Request) -> Response:
        token = self._uploads.issue_token(await tenant(self._service, request))
        return json_response(
            {
                "token": token.text,
                "token_type": "Bearer",
                "base_url": origins(request).cdn,
                # With its offset: the Python client cannot compare a naive time.
                "expires_at": datetime.fromtimestamp(token.expires_at, UTC).isoformat(),
            }
        )

    async def upload(self, request: Request) -> Response:
        sender = await self._sender(request)
        return _stored(request, await self._uploads.receive(sender, _described(request), read_body(request)))

    async def begin(self, request: Request) -> Response:
        id, path = await self._uploads.begin(await self._sender(request), _described(request), multipart=True)
        return json_response({"access_url": origins(request).cdn + path, "uploadId": id})

    async def initiate(self, request: Request) -> Response:
        return await self._initiate(request, multipart=False)

    async def initiate_multipart(self, request: Request) -> Response:
        return await self._initiate(request, multipart=True)

    async def fill(self, request: Request) -> Response:
        return _stored(request, await self._uploads.fill(request.path_params["id"], read_body(request)))

    async def put_part(self, request: Request) -> Response:
        found, owned = request.path_params, await self._owned(request)
        part = await self._uploads.put_part(found["id"], found["number"], read_body(request), owned)
        etag = f'"{part.etag}"'
        # One client reads the header, the other the body.
        return json_response({"partNumber": part.number, "etag": etag}, headers={"etag": etag})

    async def complete(self, request: Request) -> Response:
        owned = await self._owned(request)
        listed = listed_parts(await read_object(request))
        return _stored(request, await self._uploads.complete(request.path_params["id"], listed, owned))

    async def get(self, request: Request) -> Response:
        path, stored = await self._uploads.file(_path(request))
        return file_response(request, path, stored, public=await admit(self._service, self._uploads, request, stored))

    async def _initiate(self, request: Request, *, multipart: bool) -> Response:
        sender = await tenant(self._service, request)
        body = await read_object(request)
        described = Described(
            file_name=text_field(body, "file_name"),
            content_type=text_field(body, "content_type"),
            lifetime=lifetime(request),
            acl=initial_acl(request),
        )
        id, path = await self._uploads.begin(sender, described, multipart=multipart)
        cdn = origins(request).cdn
        return json_response({"file_url": cdn + path, "upload_url": f"{cdn}/uploads/{id}"})

    async def _sender(self, request: Request) -> str:
        """The tenant who sends: an upload token's, or a key's as everywhere; a token that is not valid is refused, also
        where no key is required. Raises Unauthorized."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        # A key has a colon, and may come as a Bearer too.
        if scheme.lower() != "bearer" or ":" in token:
            return await tenant(self._service, request)
        owner = self._uploads.tenant_of(token.strip())
        if owner is None:
            raise Unauthorized("The upload token is invalid or has expired")
        return owner

    async def _owned(self, request: Request) -> Owned | None:
        """Whose upload it must be, and of which file, in the dialect that says both; None where the URL is enough."""
        if "shard" not in request.path_params:
            return None
        return Owned(tenant=await self._sender(request), path=_path(request))


def _described(request: Request) -> Described:
    headers = request.headers
    return Described(
        file_name=file_name(headers.get("x-fal-file-name")),
        content_type=headers.get("content-type"),
        lifetime=lifetime(request),
        acl=initial_acl(request),
    )


def _path(request: Request) -> str:
    """The part of the file's path that names it."""
    return f"{request.path_params['shard']}/{request.path_params['name']}"


def _stored(request: Request, path: str) -> Response:
    return json_response({"access_url": origins(request).cdn + path})


def _bounded(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except FileTooLargeError as error:
            # As the edge answers it, which sees most of them first; elsewhere this is an input, here the request.
            return json_response({"detail": error.message}, 413)

    return answer
