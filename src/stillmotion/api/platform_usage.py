"""``GET /v1/models/usage``: what was made in each span of time, its cost, and the GPU seconds that it took."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from stillmotion.api import platform_parameters as parameters
from stillmotion.api.callers import tenant
from stillmotion.api.json import json_response
from stillmotion.api.platform_parameters import Span
from stillmotion.errors import BadRequest
from stillmotion.service import timeframes
from stillmotion.service.ledger import CURRENCY
from stillmotion.service.service import Service
from stillmotion.service.timeframes import TIMEFRAMES, Timeframe
from stillmotion.service.usage import Total, totals
from stillmotion.store.records import Usage

BUCKETS = 1000
"""Most buckets of one page."""
MINUTES_SPAN = timedelta(days=31)
"""Longest span by the minute: 44,640 buckets for each endpoint."""

Line = tuple[str, str | None, float | None]
"""Endpoint, unit and unit price."""


class UsageReport:
    def __init__(self, service: Service) -> None:
        self._service, self._ledger = service, service.ledger

    async def answer(self, request: Request) -> Response:
        owner = await tenant(self._service, request)
        query = request.query_params
        ids = self._ledger.known(parameters.many(query, "endpoint_id"))
        expand = parameters.expansions(query, ("time_series", "summary", "auth_method"))
        shown = expand & {"time_series", "summary"} or {"time_series"}
        zone = parameters.zone(query)
        asked = parameters.span(query, zone)
        named = parameters.choice(query, "timeframe", TIMEFRAMES)
        timeframe = cast(Timeframe, named) if named else timeframes.fitting(asked.start, asked.end)
        if timeframe == "minute" and asked.end - asked.start > MINUTES_SPAN:
            raise BadRequest(f"timeframe: minute is for spans of at most {MINUTES_SPAN.days} days")
        after = parameters.cursor(query, float)
        most = parameters.limit(query, BUCKETS, BUCKETS)
        if parameters.flag(query, "bound_to_timeframe", True):
            begin = timeframes.bucket(asked.start, timeframe, zone)
            asked = Span(begin, timeframes.bucket_end(asked.end, timeframe, zone))
        rows = await self._ledger.usage(
            owner,
            ids,
            start=asked.start.timestamp(),
            end=asked.end.timestamp(),
            slot_seconds=timeframes.slot_seconds(timeframe),
        )
        auth = owner if "auth_method" in expand else None
        body: dict[str, Any] = {"next_cursor": None, "has_more": False}
        if "time_series" in shown:
            buckets: dict[datetime, list[Usage]] = {}
            for row in rows:
                began = timeframes.bucket(datetime.fromtimestamp(row.slot, UTC), timeframe, zone)
                buckets.setdefault(began, []).append(row)
            body |= _page(buckets, after[0] if after else None, most, auth)
        if "summary" in shown:
            body["summary"] = _results(rows, auth)
        return json_response(body)


def _page(buckets: dict[datetime, list[Usage]], after: float | None, most: int, auth: str | None) -> dict[str, Any]:
    """The buckets in which something was made, oldest first."""
    following = sorted(began for began in buckets if after is None or began.timestamp() > after)
    page, has_more = following[:most], len(following) > most
    return {
        "time_series": [{"bucket": began.isoformat(), "results": _results(buckets[began], auth)} for began in page],
        "next_cursor": parameters.cursor_for([page[-1].timestamp()]) if has_more else None,
        "has_more": has_more,
    }


def _results(rows: Sequence[Usage], auth: str | None) -> list[dict[str, Any]]:
    return [_result(line, total, auth) for line, total in totals(rows, _line).items()]


def _line(row: Usage) -> Line:
    charge = row.charge
    return (row.endpoint, charge.unit, float(charge.unit_price)) if charge else (row.endpoint, None, None)


def _result(line: Line, total: Total, auth: str | None) -> dict[str, Any]:
    endpoint, unit, unit_price = line
    cost = float(total.cost)
    return {
        "endpoint_id": endpoint,
        "unit": unit,
        "quantity": float(total.quantity),
        "unit_price": unit_price,
        "percent_discount": 0,
        "cost_subtotal": cost,
        "cost_discount": 0,
        "cost_total": cost,
        "cost": cost,
        "currency": CURRENCY,
        **({"auth_method": auth} if auth else {}),
        # Not fal's: what it took of this machine.
        "request_count": total.requests,
        "gpu_seconds": round(total.gpu_seconds, 3),
    }
