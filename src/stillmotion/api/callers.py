"""Who sends a request. Every handler that touches a tenant's own things asks here first."""

from starlette.requests import HTTPConnection, Request

from stillmotion.service.keys import Caller
from stillmotion.service.service import Service

TOKEN = "fal_jwt_token"
"""The query parameter in which browsers send a token, as they cannot send a header with a websocket."""


async def tenant(service: Service, request: Request) -> str:
    """Raises Unauthorized."""
    return (await service.keys.caller(request.headers.get("authorization"))).tenant


async def administrator(service: Service, request: Request) -> str:
    """The tenant of a caller that may see and change what is everybody's. Raises Unauthorized or Forbidden."""
    return (await service.keys.administrator(request.headers.get("authorization"))).tenant


async def tenant_or_named(service: Service, request: Request) -> str:
    """As ``tenant``; an administrator may name another one with ``?key=``. Raises Unauthorized or Forbidden."""
    named = request.query_params.get("key")
    if named is None:
        return await tenant(service, request)
    await administrator(service, request)
    return named


async def run_caller(service: Service, request: HTTPConnection, endpoint: str) -> Caller:
    """Who runs ``endpoint`` over this connection: with a key, or else with a token for its application.

    Raises Unauthorized, or Forbidden for a token that is for others.
    """
    authorization, token = request.headers.get("authorization"), request.query_params.get(TOKEN)
    if authorization is None and token is not None:
        return await service.tokens.caller(token, service.endpoint(endpoint))
    return await service.keys.caller(authorization)
