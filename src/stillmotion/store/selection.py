"""Which waiting request is claimed: one row of one partial index for each question, however long the queue is."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Executable

from stillmotion.store import statements as sql
from stillmotion.store.records import Selection
from stillmotion.store.transaction import Row, Transaction


def oldest(now: float) -> Transaction[int | None]:
    """``seq`` of the longest waiting request of the highest priority."""
    rows = yield sql.OLDEST, {"now": now}
    return rows[0]["seq"] if rows else None


def select(wanted: Selection, now: float) -> Transaction[int | None]:
    """``seq`` of the request that ``wanted`` prefers."""
    able = [{"endpoint": endpoint, "now": now} for endpoint in wanted.endpoints]
    first = yield from _first(sql.OLDEST_OF, able)
    if first is None:
        return None
    patient = first["created_at"] >= wanted.impatient_before
    warm = first["endpoint"] in wanted.warm
    if patient and not (warm and first["weights"] == wanted.weights):
        ready = [{"endpoint": endpoint, "weights": wanted.weights, "now": now} for endpoint in wanted.warm]
        better = yield from _first(sql.OLDEST_WARM, ready, first["priority"])
        if better is None and not warm:
            ready = [{"endpoint": endpoint, "now": now} for endpoint in wanted.warm]
            better = yield from _first(sql.OLDEST_OF, ready, first["priority"])
        first = better or first
    seq: int = first["seq"]
    return seq


def _first(
    statement: Executable, each: Iterable[Mapping[str, Any]], priority: int | None = None
) -> Transaction[Row | None]:
    """The first row in the queue that ``statement`` finds with any of the parameters, if it is of ``priority``."""
    found: list[Row] = []
    for parameters in each:
        found += yield statement, parameters
    fit = (row for row in found if priority is None or row["priority"] == priority)
    return min(fit, key=lambda row: (row["priority"], row["seq"]), default=None)
