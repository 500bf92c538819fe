"""Who sends a request. Every handler that touches a tenant's own things asks here first."""

from starlette.requests import Request

from stillmotion.service.service import Service


async def tenant(service: Service, request: Request) -> str:
    """Raises Unauthorized."""
    return (await service.keys.caller(request.headers.get("authorization"))).tenant


async def administrator(service: Service, request: Request) -> str:
    """The tenant of a caller that may see and change what is everybody's. Raises Unauthorized or Forbidden."""
    return (await service.keys.administrator(request.headers.get("authorization"))).tenant
