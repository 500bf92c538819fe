"""What has ended and what it cost: reads over the finished requests, as transactions like the state machine's."""

import heapq
from collections.abc import Iterable, Sequence
from itertools import islice

from stillmotion.store import statements as sql
from stillmotion.store.records import Charge, Listing, Payload, Request, Usage
from stillmotion.store.transitions import Row, Transaction, as_charge, as_request

Key = tuple[float, int]
"""The place of a request in a listing: what it is sorted by, and its ``seq``."""


def ended(listing: Listing, most: int) -> Transaction[list[tuple[Key, Request]]]:
    """At most ``most`` requests, greatest key first."""
    statement = sql.LIST_BY_END if listing.order == "ended_at" else sql.LIST_BY_DURATION
    after_key, after_seq = listing.after or (float("inf"), 0)
    parameters = {
        "tenant": listing.tenant,
        "start": listing.start,
        "end": listing.end,
        "kinds": None if listing.kinds is None else "," + "".join(f"{kind}," for kind in sorted(listing.kinds)),
        "only": listing.id,
        "after_key": after_key,
        "after_seq": after_seq,
        "most": most,
    }
    found: list[Sequence[Row]] = []
    # One indexed range for each endpoint, merged here: no statement has to hold a list of endpoints.
    for endpoint in listing.endpoints:
        found.append((yield statement, {**parameters, "endpoint": endpoint}))
    merged = heapq.merge(*found, key=lambda row: (row["key"], row["seq"]), reverse=True)
    return [_keyed(row) for row in islice(merged, most)]


def get_payload(tenant: str, id: str) -> Transaction[Payload | None]:
    rows = yield sql.GET_PAYLOAD, {"tenant": tenant, "id": id}
    return Payload(**rows[0]) if rows else None


def used(
    tenant: str, endpoints: Iterable[str], *, start: float, end: float, slot_seconds: float
) -> Transaction[list[Usage]]:
    """The successes of a tenant that ended from ``start`` to before ``end``, by slots of ``slot_seconds``."""
    span = {"tenant": tenant, "start": start, "end": end, "slot_seconds": slot_seconds}
    found: list[Usage] = []
    for endpoint in endpoints:
        found += _usage((yield sql.USED, {**span, "endpoint": endpoint}), slot_seconds)
    return found


def used_by_all(*, start: float, slot_seconds: float) -> Transaction[list[Usage]]:
    """The successes of all tenants since ``start``."""
    return _usage((yield sql.USED_BY_ALL, {"start": start, "slot_seconds": slot_seconds}), slot_seconds)


def charges(tenant: str, endpoint: str) -> Transaction[list[tuple[int, Charge]]]:
    """What the priced successes of a tenant cost, each charge with how often it occurred."""
    rows = yield sql.CHARGES, {"tenant": tenant, "endpoint": endpoint}
    return [(row["requests"], charge) for row in rows if (charge := as_charge(row))]


def _keyed(row: Row) -> tuple[Key, Request]:
    return (row["key"], row["seq"]), as_request({name: value for name, value in row.items() if name != "key"})


def _usage(rows: Sequence[Row], slot_seconds: float) -> list[Usage]:
    return [
        Usage(
            tenant=row["tenant"],
            endpoint=row["endpoint"],
            slot=row["slot"] * slot_seconds,
            requests=row["requests"],
            charge=as_charge(row),
            gpu_seconds=row["gpu_seconds"],
            video_seconds=row["video_seconds"],
        )
        for row in rows
    ]
