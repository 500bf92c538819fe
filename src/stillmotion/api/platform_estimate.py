"""``POST /v1/models/pricing/estimate``: what calls or units would cost."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stillmotion.api.callers import tenant
from stillmotion.api.faults import error_body
from stillmotion.api.json import json_response, read_object
from stillmotion.errors import BadRequest
from stillmotion.service.ledger import CURRENCY
from stillmotion.service.service import Service

QUANTITIES: Mapping[str, tuple[str, Decimal]] = {
    "historical_api_price": ("call_quantity", Decimal(1)),
    "unit_price": ("unit_quantity", Decimal("0.000001")),
}
"""By type of estimate the field that says how much, and its least value."""
INPUT = "input"
"""Not fal's: what one input would give."""
MAX_SIDE = 1 << 20
MOST = Decimal(10**12)
CENT_PARTS = Decimal("0.000000001")
MAX_ENDPOINTS = 50


class Estimate:
    def __init__(self, service: Service) -> None:
        self._service, self._ledger = service, service.ledger

    async def answer(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        body = await read_object(request)
        kind = body.get("estimate_type")
        if kind == INPUT:
            return json_response(await self._of_input(body))
        if not isinstance(kind, str) or kind not in QUANTITIES:
            raise BadRequest(f"estimate_type: should be one of {', '.join((*QUANTITIES, INPUT))}")
        quantities = _quantities(body.get("endpoints"), *QUANTITIES[kind])
        self._ledger.known(tuple(quantities))
        total = Decimal(0)
        for id, quantity in quantities.items():
            total += quantity * (
                await self._call_cost(owner, id) if kind == "historical_api_price" else self._unit_price(id)
            )
        cost = float(total.quantize(CENT_PARTS))
        return json_response({"estimate_type": kind, "total_cost": cost, "currency": CURRENCY})

    async def _of_input(self, body: Mapping[str, Any]) -> dict[str, Any]:
        id, sent, size = body.get("endpoint_id"), body.get("input", {}), body.get("image_size")
        if not isinstance(id, str):
            raise BadRequest("endpoint_id: should be the id of an endpoint")
        if not isinstance(sent, dict):
            raise BadRequest("input: should be an object")
        told = await self._service.forecast(id, sent, None if size is None else _size(size))
        price, computed = told.price, told.computed
        return {
            "estimate_type": INPUT,
            "endpoint_id": id,
            "total_cost": float(price.total) if price else None,
            "currency": CURRENCY,
            "unit": price.unit if price else None,
            "quantity": float(price.quantity) if price else None,
            "unit_price": float(price.unit_price) if price else None,
            "width": told.width,
            "height": told.height,
            "num_frames": told.num_frames,
            "fps": told.fps,
            "seconds": told.num_frames / told.fps if told.num_frames and told.fps else None,
            "megapixels": told.megapixels,
            "content_type": told.content_type,
            "computed": dict(zip(("width", "height", "num_frames", "steps"), computed, strict=True))
            if computed
            else None,
            "notes": list(told.notes),
            "model": told.model,
            "expected_seconds": _rounded(told.expectation.seconds),
            "expected_from": told.expectation.works,
            "detail": error_body(told.error)["detail"] if told.error else [],
        }

    def _unit_price(self, id: str) -> Decimal:
        for price in self._ledger.prices([id]):
            return price.unit_price
        raise BadRequest(f"endpoints.{id}: is not priced")

    async def _call_cost(self, owner: str, id: str) -> Decimal:
        cost = await self._ledger.average_cost(owner, id)
        if cost is None:
            raise BadRequest(f"endpoints.{id}: has no priced request yet to estimate from; use unit_price")
        return cost


def _size(value: Any) -> tuple[int, int]:
    sides: list[Any] = [value.get("width"), value.get("height")] if isinstance(value, dict) else [None]
    if not all(type(side) is int and 0 < side <= MAX_SIDE for side in sides):
        raise BadRequest(f"image_size: should be an object with width and height from 1 to {MAX_SIDE}")
    return int(sides[0]), int(sides[1])


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _quantities(endpoints: Any, field: str, least: Decimal) -> dict[str, Decimal]:
    if not isinstance(endpoints, dict) or not 1 <= len(endpoints) <= MAX_ENDPOINTS:
        raise BadRequest(f"endpoints: should be an object of 1 to {MAX_ENDPOINTS} endpoint ids")
    return {id: _quantity(id, entry, field, least) for id, entry in endpoints.items()}


def _quantity(id: str, entry: Any, field: str, least: Decimal) -> Decimal:
    value = entry.get(field) if isinstance(entry, dict) else None
    whole = least == 1
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise BadRequest(f"endpoints.{id}.{field}: should be a {'whole number' if whole else 'number'}")
    quantity = Decimal(str(value))
    if not least <= quantity <= MOST:
        raise BadRequest(f"endpoints.{id}.{field}: should be from {least:f} to {MOST:f}")
    return quantity
