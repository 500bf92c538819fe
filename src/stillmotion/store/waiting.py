"""Reads for those who wait: what is new about a request, how long the queues are, and who must start next."""

from stillmotion.store import statements as sql
from stillmotion.store.records import PRIORITIES, Head, LogLine, Request
from stillmotion.store.transaction import Transaction
from stillmotion.store.transitions import as_request, queued


def watch(id: str, after: int) -> Transaction[tuple[Request, list[LogLine], int] | None]:
    """A request and its log lines behind the one numbered ``after``, with the number of the last one."""
    rows = yield sql.GET, {"id": id}
    if not rows:
        return None
    request, lines = as_request(rows[0]), (yield sql.GET_LOGS_AFTER, {"id": id, "after_seq": after})
    shown = [LogLine(at=row["at"], level=row["level"], message=row["message"]) for row in lines]
    return request, shown, lines[-1]["seq"] if lines else after


def heads(most: int) -> Transaction[tuple[list[Head], int]]:
    """The front of each queue, in the order in which they are served, and the ``seq`` of the newest request."""
    found = []
    for priority in PRIORITIES:
        seqs = yield from queued(most, priority)
        (row,) = yield sql.LAST_QUEUED, {"of_priority": PRIORITIES.index(priority)}
        found.append(Head(seqs=seqs, last=row["seq"]))
    (row,) = yield sql.NEWEST, {}
    return found, row["seq"]


def next_start_by() -> Transaction[float | None]:
    """Unix time at which the next waiting request must have started, or had to."""
    (row,) = yield sql.NEXT_START_BY, {}
    start_by: float | None = row["start_by"]
    return start_by
