"""``/v1/keys``: API keys, as fal's platform has them: made, listed and revoked with an admin key."""

from contextlib import suppress
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api.callers import administrator
from stillmotion.api.json import json_response, read_object
from stillmotion.api.times import iso
from stillmotion.errors import BadRequest, Unauthorized
from stillmotion.service.service import Service
from stillmotion.store.records import Key, Scope

SCOPES: tuple[Scope, ...] = ("api", "admin")


def routes(service: Service) -> list[Route]:
    ring = _KeyRing(service)
    return [
        Route("/caller", ring.caller, methods=["GET"]),
        Route("/keys", ring.list, methods=["GET"]),
        Route("/keys", ring.create, methods=["POST"]),
        Route("/keys/{id}", ring.revoke, methods=["DELETE"]),
    ]


class _KeyRing:
    def __init__(self, service: Service) -> None:
        self._service, self._keys = service, service.keys

    async def caller(self, request: Request) -> Response:
        """Whoever asks, what it may do: a page shows nobody what would be refused."""
        told: dict[str, Any] = {"key": None, "key_id": None, "scope": None}
        with suppress(Unauthorized):
            caller = await self._keys.caller(request.headers.get("authorization"))
            told = {"key": caller.tenant, "key_id": caller.key, "scope": "admin" if caller.admin else "api"}
        return json_response({**told, "required": self._keys.required}, headers={"cache-control": "no-store"})

    async def list(self, request: Request) -> Response:
        await administrator(self._service, request)
        found = [_described(key) for key in await self._keys.every()]
        return json_response({"keys": found, "required": self._keys.required, "next_cursor": None, "has_more": False})

    async def create(self, request: Request) -> Response:
        await administrator(self._service, request)
        body = await read_object(request)
        alias, scope = body.get("alias"), body.get("scope", SCOPES[0])
        if not isinstance(alias, str):
            raise BadRequest("alias: should be the name of the key")
        if scope not in SCOPES:
            raise BadRequest(f"scope: should be one of {', '.join(SCOPES)}")
        key = await self._keys.create(alias, cast(Scope, scope))
        id, _, secret = key.partition(":")
        return json_response({"key_id": id, "key_secret": secret, "key": key}, 201, {"cache-control": "no-store"})

    async def revoke(self, request: Request) -> Response:
        await administrator(self._service, request)
        await self._keys.revoke(request.path_params["id"])
        return Response(status_code=204)


def _described(key: Key) -> dict[str, Any]:
    """Nothing of it that anybody could use."""
    return {
        "key_id": key.id,
        "alias": key.tenant,
        "scope": key.scope,
        "created_at": iso(key.created_at),
        "revoked_at": iso(key.revoked_at),
    }
