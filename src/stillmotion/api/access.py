"""Who may read a file, over HTTP: the check before each one, its ACL, and signed URLs."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api.callers import tenant
from stillmotion.api.json import json_response, read_object
from stillmotion.errors import BadRequest, Unauthorized
from stillmotion.service.access import Reader
from stillmotion.service.acl import Acl
from stillmotion.service.service import Service
from stillmotion.service.signed_urls import IDENTITY
from stillmotion.service.uploads import Uploads
from stillmotion.store.records import OwnedFile

SIGNED_SECONDS = 86400
"""Where the CDN's form of signing does not say for how long."""


def routes(service: Service) -> list[Route]:
    """``POST URL/sign``, as at fal's CDN."""

    async def sign(request: Request) -> Response:
        owner = await tenant(service, request)
        body = await read_object(request)
        if body.get("scope", ["read"]) != ["read"]:
            raise BadRequest('The scope of a signature is ["read"].')
        url = str(request.url.replace(query="", path=request.url.path.removesuffix("/sign")))
        return _signed(await service.access.sign(owner, url, body.get("duration", SIGNED_SECONDS)))

    files = ("/files/{name}", "/files/b/{shard}/{name}")
    return [Route(f"{prefix}{file}/sign", sign, methods=["POST"]) for prefix in ("", "/cdn") for file in files]


class FileAccessBoard:
    """``GET`` and ``PUT /storage/files/acl`` and ``POST /storage/files/sign``, of the file at ``?url=``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def acl(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        return json_response(_described(await self._service.access.acl(owner, _url(request))))

    async def set_acl(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        acl = Acl.read(await read_object(request))
        return json_response(_described(await self._service.access.set_acl(owner, _url(request), acl)))

    async def sign(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        body = await read_object(request)
        return _signed(await self._service.access.sign(owner, _url(request), body.get("expiration_seconds")))


async def admit(service: Service, uploads: Uploads, request: Request, file: OwnedFile) -> bool:
    """Whether anybody may read the file. Raises Forbidden or NotFound unless who asks may.

    No key is nobody here, on a loopback server too: what is not public is the same wherever a program is tested.
    """
    identity = request.query_params.get(IDENTITY)
    return service.access.admit(file, Reader(tenant=await _reader(service, uploads, request), identity=identity))


async def _reader(service: Service, uploads: Uploads, request: Request) -> str | None:
    authorization = request.headers.get("authorization")
    if authorization is None:
        return None
    scheme, _, credentials = authorization.partition(" ")
    # A token for uploads; a key has a colon, and may come as a Bearer too.
    if scheme.lower() == "bearer" and ":" not in credentials:
        return uploads.tenant_of(credentials.strip())
    try:
        return (await service.keys.caller(authorization)).tenant
    except Unauthorized:
        return None


def _url(request: Request) -> str:
    url = request.query_params.get("url")
    if not url:
        raise BadRequest("url: is required, the URL of the file")
    return url


def _described(acl: Acl) -> dict[str, Any]:
    rules = [{"user": user, "decision": decision} for user, decision in acl.rules.items()]
    return {"default": acl.default, "rules": rules}


def _signed(url: str) -> Response:
    return json_response({"signed_url": url}, headers={"cache-control": "no-store"})
