"""Webhooks on the wire: the body that receivers are sent, the keys they verify with, and the log of deliveries."""

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stillmotion.api import platform_parameters as parameters
from stillmotion.api import wire
from stillmotion.api.callers import tenant_or_named
from stillmotion.api.faults import error_body, fault_of
from stillmotion.api.json import json_response
from stillmotion.service.service import Service
from stillmotion.service.webhook_delivery import Ended
from stillmotion.store.records import Delivered, Error, WebhookStatus

MAX_INLINE = 8 << 20
"""Bytes of a file that a body carries as a data URI; above it the receiver is told to fetch the result."""
KEYS_SECONDS = 3600
PAGE, MAX_PAGE = 50, 100
EVERY_KEY = "*"
"""No key has this name."""

DELETED = "The output was deleted before it could be delivered."
TOO_LARGE = "The output holds its file, which is larger than a webhook carries. Fetch the result from the queue."


def body(ended: Ended) -> bytes:
    """What a receiver is sent, as fal writes it; reads the file of a ``sync_mode`` output, so it may block."""
    request = ended.request
    told: dict[str, Any] = {"request_id": request.id, "gateway_request_id": request.id}
    if request.state == "done":
        told |= {"status": "OK", **_payload(ended)}
    else:
        error = request.error or Error(kind="internal_error", message="Internal server error")
        status = fault_of(error.kind).status
        told |= {"status": "ERROR", "error": f"Invalid status code: {status}", "payload": error_body(error)}
    return orjson.dumps(told)


def _payload(ended: Ended) -> dict[str, Any]:
    if ended.output is None:
        return {"payload": None, "payload_error": DELETED}
    if not ended.request.ephemeral:
        return {"payload": wire.output(ended.origin, ended.output)}
    try:
        if ended.inline is None:
            raise FileNotFoundError
        if ended.inline.stat().st_size > MAX_INLINE:
            return {"payload": None, "payload_error": TOO_LARGE}
        content = base64.b64encode(ended.inline.read_bytes()).decode()
    except FileNotFoundError:  # its one reader was faster
        return {"payload": None, "payload_error": DELETED}
    video = ended.output["video"]
    return {"payload": {**ended.output, "video": {**video, "url": f"data:{video['content_type']};base64,{content}"}}}


def routes(service: Service) -> list[Route]:
    """The key set, where fal has it below its REST host and at the root."""

    async def keys(request: Request) -> Response:
        headers = {"cache-control": f"public, max-age={KEYS_SECONDS}"}
        return json_response({"keys": service.webhooks.public_keys()}, headers=headers)

    return [Route(prefix + "/.well-known/jwks.json", keys, methods=["GET"]) for prefix in ("", "/rest")]


class WebhookLog:
    """``GET /webhooks``, ``GET /webhooks/{id}`` and ``POST /webhooks/{id}/redeliver``, by a request's id.

    With ``?key=NAME`` those of another key, for an administrator; a list with ``?key=*`` those of all."""

    def __init__(self, service: Service) -> None:
        self._service, self._webhooks = service, service.webhooks

    async def list(self, request: Request) -> Response:
        owner: str | None = await tenant_or_named(self._service, request)
        if request.query_params.get("key") == EVERY_KEY:
            owner = None
        after = parameters.cursor(request.query_params, int)
        most = parameters.limit(request.query_params, PAGE, MAX_PAGE)
        # One more than asked for tells whether there is another page.
        found = await self._webhooks.listing(owner, after=after[0] if after else None, most=most + 1)
        page, has_more = found[:most], len(found) > most
        return json_response(
            {
                "webhooks": [
                    {**_described(webhook), "last": _delivery(last) if last else None} for webhook, last in page
                ],
                "next_cursor": parameters.cursor_for([page[-1][0].seq]) if has_more else None,
                "has_more": has_more,
            }
        )

    async def one(self, request: Request) -> Response:
        owner = await tenant_or_named(self._service, request)
        return _with_deliveries(*await self._webhooks.find(owner, request.path_params["id"]))

    async def redeliver(self, request: Request) -> Response:
        owner = await tenant_or_named(self._service, request)
        return _with_deliveries(*await self._webhooks.redeliver(owner, request.path_params["id"]))


def _with_deliveries(webhook: WebhookStatus, deliveries: list[Delivered]) -> Response:
    return json_response({**_described(webhook), "deliveries": [_delivery(each) for each in deliveries]})


def _described(webhook: WebhookStatus) -> dict[str, Any]:
    parts = urlsplit(webhook.url)
    return {
        "request_id": webhook.request_id,
        "key": webhook.tenant,
        "endpoint_id": webhook.endpoint,
        # Without its query, in which receivers keep their secrets.
        "url": f"{parts.scheme}://{parts.netloc}{parts.path}",
        "state": webhook.state,
        "attempts": webhook.attempt,
        "next_attempt_at": _time(webhook.due_at),
    }


def _delivery(told: Delivered) -> dict[str, Any]:
    return {
        "attempt": told.attempt,
        "at": _time(told.at),
        "status": told.status,
        "error": told.error,
        "seconds": told.seconds,
        "next_attempt_at": _time(told.next_at),
    }


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
