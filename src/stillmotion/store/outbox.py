"""Webhooks on their way out, as transactions like the state machine's.

    waiting ── the request ends ──► pending ──► delivered
                                     │   ▲         │
                                     │   └─────────┤ redeliver
                                     └──► failed ──┘

A pending row is either due at a time of the wall clock or leased to a delivery that is under way. A delivery whose
process dies is due again, so a receiver may be told twice, and never not at all. Its end is fenced by (seq, attempt):
one that was overtaken by a redelivery is logged and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from stillmotion.store import outbox_statements as sql
from stillmotion.store.records import Delivered, Delivery, WebhookStatus
from stillmotion.store.transitions import Transaction

INTERRUPTED = "interrupted"
"""The word for a delivery whose process ended before the receiver had answered."""


def next_due() -> Transaction[float | None]:
    """Unix time at which the next delivery is due, or was."""
    (row,) = yield sql.NEXT_DUE, {}
    due: float | None = row["due_at"]
    return due


def claim(
    *, now: float, expires: float, most: int, per_host: int, busy: Mapping[str, int]
) -> Transaction[list[Delivery]]:
    """Takes at most ``most`` deliveries that are due, those due longest first.

    A host has at most ``per_host`` at a time, of which it has ``busy`` already: a queue for a slow one is passed over.
    """
    found: list[Delivery] = []
    for host in [row["host"] for row in (yield sql.HOSTS_DUE, {"now": now})]:
        room = min(per_host - busy.get(host, 0), most - len(found))
        if room <= 0:
            continue
        for row in (yield sql.DUE_AT_HOST, {"at_host": host, "now": now, "most": room}):
            yield sql.CLAIM_DELIVERY, {"claimed": row["seq"], "expires": expires}
            found.append(Delivery(**{**row, "attempt": row["attempt"] + 1}))
    return found


def end(delivery: Delivery, told: Delivered, *, state: Literal["pending", "delivered", "failed"]) -> Transaction[bool]:
    """Logs what came of a delivery and says what follows. False: a redelivery was asked for meanwhile and follows."""
    rows = yield (
        sql.END_DELIVERY,
        {
            "fence_seq": delivery.seq,
            "fence_attempt": delivery.attempt,
            "new_state": state,
            "new_failures": delivery.failures + (state != "delivered"),
            "new_due_at": told.next_at,
        },
    )
    yield from _log(delivery.request_id, told if rows else replace(told, next_at=None))
    return bool(rows)


def recover(*, now: float, before: float) -> Transaction[list[str]]:
    """Makes the deliveries due again whose lease expired ``before``; returns the ids of their requests."""
    found: list[str] = []
    for row in (yield sql.LAPSED, {"before": before}):
        yield sql.POST_AGAIN, {"lapsed": row["seq"], "now": now}
        lost = Delivered(attempt=row["attempt"], at=now, seconds=None, status=None, error=INTERRUPTED, next_at=now)
        yield from _log(row["request_id"], lost)
        found.append(row["request_id"])
    return found


def redeliver(tenant: str, id: str, *, now: float) -> Transaction[bool]:
    """Begins the schedule anew. False: the tenant has no such webhook, or its request has not ended."""
    return bool((yield sql.REDELIVER, {"id": id, "of_tenant": tenant, "now": now}))


def get(tenant: str, id: str) -> Transaction[tuple[WebhookStatus, list[Delivered]] | None]:
    """The webhook of a request and what came of its deliveries, oldest first."""
    rows = yield sql.GET_WEBHOOK, {"tenant": tenant, "id": id}
    if not rows:
        return None
    return WebhookStatus(**rows[0]), [Delivered(**row) for row in (yield sql.GET_DELIVERIES, {"id": id})]


Listed = tuple[WebhookStatus, Delivered | None]
"""A webhook and what came of its last delivery."""


def listing(tenant: str | None, *, after: int | None, most: int) -> Transaction[list[Listed]]:
    """The newest webhooks of a tenant, or with None of all, from behind the ``seq`` that was seen last."""
    span = {"after_seq": (1 << 63) - 1 if after is None else after, "most": most}
    rows = yield (sql.LIST_ALL_WEBHOOKS, span) if tenant is None else (sql.LIST_WEBHOOKS, {**span, "tenant": tenant})
    found: list[Listed] = []
    for row in rows:
        last = yield sql.GET_LAST_DELIVERY, {"id": row["request_id"]}
        found.append((WebhookStatus(**row), Delivered(**last[0]) if last else None))
    return found


def _log(id: str, told: Delivered) -> Transaction[None]:
    row = {
        "id": id,
        "of_attempt": told.attempt,
        "began": told.at,
        "took": told.seconds,
        "answered": told.status,
        "failed_by": told.error,
        "then": told.next_at,
    }
    yield sql.INSERT_DELIVERY, row
