"""``/v1/models/requests``: what has ended, page by page, and how to delete what it left."""

from datetime import UTC, datetime
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from stillmotion.api import platform_parameters as parameters
from stillmotion.api import wire
from stillmotion.api.callers import tenant
from stillmotion.api.faults import FAULTS, error_body, fault_of
from stillmotion.api.json import json_response
from stillmotion.api.origins import origins
from stillmotion.service.attempt import FILES_PATH
from stillmotion.service.ledger import CURRENCY, Entry, units
from stillmotion.service.service import Service
from stillmotion.store.records import Listing, Order

PAGE, MAX_PAGE = 50, 100

# By ``status``, the kinds of error that it means; success is the empty one.
KINDS: dict[str, frozenset[str]] = {
    "success": frozenset({""}),
    "user_error": frozenset(kind for kind, fault in FAULTS.items() if fault.status < 500),
    "error": frozenset(kind for kind, fault in FAULTS.items() if fault.status >= 500),
}


class History:
    def __init__(self, service: Service) -> None:
        self._service, self._ledger = service, service.ledger

    async def by_endpoint(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        query = request.query_params
        payloads = "payloads" in parameters.expansions(query, ("payloads", "billing"))
        span = parameters.span(query)
        status = parameters.choice(query, "status", tuple(KINDS))
        order = cast(Order, parameters.choice(query, "sort_by", ("ended_at", "duration"), "ended_at"))
        after = parameters.cursor(query, float, int)
        most = parameters.limit(query, PAGE, MAX_PAGE)
        listing = Listing(
            tenant=owner,
            endpoints=self._ledger.known(parameters.many(query, "endpoint_id")),
            start=span.start.timestamp(),
            end=span.end.timestamp(),
            kinds=KINDS[status] if status else None,
            id=query.get("request_id") or None,
            order=order,
            after=(after[0], after[1]) if after else None,
        )
        # One more than asked for tells whether there is another page.
        found = await self._ledger.ended(listing, most + 1, payloads=payloads)
        page, has_more = found[:most], len(found) > most
        return json_response(
            {
                "items": [_item(entry, origins(request).files, payloads) for entry in page],
                "next_cursor": parameters.cursor_for(page[-1].key) if has_more else None,
                "has_more": has_more,
            }
        )

    async def delete_payloads(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        deleted = await self._ledger.delete_payloads(owner, request.path_params["id"])
        base = origins(request).files + FILES_PATH
        return json_response(
            {"cdn_delete_results": [{"link": base + name, "exception": exception} for name, exception in deleted]}
        )


def _item(entry: Entry, origin: str, payloads: bool) -> dict[str, Any]:
    request = entry.request
    assert request.ended_at is not None
    duration = None if request.started_at is None else round(request.ended_at - request.started_at, 6)
    return {
        "request_id": request.id,
        "endpoint_id": request.endpoint,
        "started_at": _time(request.started_at),
        "sent_at": _time(request.created_at),
        "ended_at": _time(request.ended_at),
        "status_code": fault_of(request.error.kind).status if request.error else 200,
        "duration": duration,
        **(_payloads(entry, origin) if payloads else {}),
        "billable_units": units(request.charge),
        "tags": request.tags,
        # Not fal's: the price beside what it took of this machine.
        "cost": float(request.charge.cost) if request.charge else 0.0,
        "currency": CURRENCY,
        "gpu_seconds": None if request.gpu_seconds is None else round(request.gpu_seconds, 3),
    }


def _payloads(entry: Entry, origin: str) -> dict[str, Any]:
    error = entry.request.error
    return {
        "json_input": entry.input,
        "json_output": error_body(error) if error else wire.output(origin, entry.output),
    }


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
