"""The state machine of a request, as transactions that perform no input or output.

                    submit ──────────────► failed           (input that can never run)
                      │
                      ▼       claim
      ┌──────────► queued ──────────► running ──── settle ──► done | failed | cancelled
      │              │                   │
      │              ├─ cancel ► cancelled
      │              └─ end_late ► failed                   (its start deadline passed)
      └───────────────── release, recover┘                  (attempts left; else failed)

A transition is a generator: it yields ``(statement, parameters)``, is sent the rows, and returns its result. A driver
runs each one in a database transaction of its own, so the same machine serves a synchronous driver in a writer thread
and an asynchronous one. Every write on behalf of a runner names the fence (id, lease, attempt) in its WHERE clause;
no rows back means that the fence is void and that nothing was changed.

``now`` is wall-clock unix seconds; ``tick`` is the clock of the leases, which never jumps (see the drivers).
"""

import json
from collections.abc import Generator, Iterable, Sequence
from decimal import Decimal
from typing import Any

from stillmotion.errors import QueueFull
from stillmotion.job import to_json
from stillmotion.store import outbox_statements as outbox
from stillmotion.store import statements as sql
from stillmotion.store import summary_statements as summaries
from stillmotion.store.records import (
    PRIORITIES,
    TERMINAL,
    Beat,
    Charge,
    Claim,
    Error,
    FailedFor,
    Fence,
    FileRole,
    LogLine,
    NewRequest,
    Outcome,
    OwnedFile,
    Priority,
    Request,
    Selection,
    State,
    Succeeded,
    WasCancelled,
)
from stillmotion.store.selection import oldest, select
from stillmotion.store.transaction import Row as Row
from stillmotion.store.transaction import Step as Step
from stillmotion.store.transaction import Transaction as Transaction

_CHARGE = ("quantity", "unit", "unit_price", "cost")

CANCELLED_BY_CLIENT = Error(kind="client_cancelled", message="Request cancelled by the client.")
CLIENT_DISCONNECTED = Error(kind="client_disconnected", message="The client of this request went away.")
STARTED_TOO_LATE = Error(kind="request_timeout", message="Request timed out before it could start.")


def submit(
    new: NewRequest,
    *,
    now: float,
    error: Error | None = None,
    lines: Iterable[LogLine] = (),
    max_queue: int | None = None,
) -> Transaction[int]:
    """Stores a request: queued, or failed at once with ``error`` when its input can never run. Returns its ``seq``.

    Raises QueueFull, and stores nothing, when more than ``max_queue`` requests wait for its endpoint.
    """
    state: State = "failed" if error else "queued"
    options = new.options
    if max_queue is not None:
        (found,) = yield sql.QUEUE_LENGTH, {"endpoint": new.endpoint, "most": max_queue + 1}
        if found["length"] > max_queue:
            raise QueueFull
    (row,) = yield (
        sql.INSERT_REQUEST,
        {
            "id": new.id,
            "tenant": new.tenant,
            "app": new.app,
            "endpoint": new.endpoint,
            "origin": new.origin,
            "state": state,
            "created_at": now,
            "ended_at": now if error else None,
            "max_attempts": new.max_attempts,
            "error": _error_text(error),
            "error_kind": error.kind if error else None,
            "weights": new.weights,
            "priority": PRIORITIES.index(options.priority),
            "start_by": None if options.start_within is None else now + options.start_within,
            "private": options.private,
            "file_seconds": options.file_seconds,
            "tags": json.dumps(dict(options.tags)) if options.tags else None,
            "preview": options.preview,
            "acl": options.acl,
        },
    )
    yield sql.INSERT_PAYLOAD, {"id": new.id, "input": "null" if error and options.private else new.input}
    yield summaries.INSERT_SUMMARY, summaries.summary(row["seq"], None if options.private else new.prompt)
    yield from _append(new.id, lines)
    if new.webhook:
        place = {"id": new.id, "tenant": new.tenant, **to_json(new.webhook)}
        yield (
            outbox.INSERT_WEBHOOK,
            {**place, "state": "pending" if error else "waiting", "due": now if error else None},
        )
    seq: int = row["seq"]
    return seq


def claim(
    lease: str, *, now: float, expires: float, selection: Selection | None = None, engine: str | None = None
) -> Transaction[Claim | None]:
    """Takes the longest waiting request of the highest priority for ``engine``, or the one ``selection`` prefers."""
    seq = yield from select(selection, now) if selection else oldest(now)
    if seq is None:
        return None
    (row,) = yield (
        sql.CLAIM,
        {"claimed": seq, "new_lease": lease, "expires": expires, "now": now, "by_engine": engine},
    )
    (payload,) = yield sql.GET_INPUT, {"id": row["id"]}
    return Claim(
        fence=Fence(id=row["id"], lease=lease, attempt=row["attempt"]),
        tenant=row["tenant"],
        endpoint=row["endpoint"],
        input=payload["input"],
        created_at=row["created_at"],
        max_attempts=row["max_attempts"],
        weights=row["weights"],
        private=bool(row["private"]),
        file_seconds=row["file_seconds"],
        preview=bool(row["preview"]),
        acl=row["acl"],
    )


def beat(fence: Fence, *, expires: float) -> Transaction[Beat]:
    """Extends the lease and brings back whether the request is to be cancelled."""
    rows = yield sql.BEAT, {**_fence(fence), "expires": expires}
    return Beat(held=bool(rows), cancel_requested=bool(rows) and bool(rows[0]["cancel_requested"]))


def append_logs(fence: Fence, lines: Iterable[LogLine]) -> Transaction[bool]:
    """Adds to the request's log; False when the fence is void, and then nothing was added."""
    rows = yield sql.HOLD, _fence(fence)
    if rows:
        yield from _append(fence.id, lines)
    return bool(rows)


def settle(
    fence: Fence,
    outcome: Outcome,
    *,
    now: float,
    gpu_seconds: float | None = None,
    lines: Iterable[LogLine] = (),
) -> Transaction[bool]:
    """Ends the request: state, result, cost, files and last log lines in one transaction. False: the fence is void."""
    rows = yield sql.SETTLE, {**_fence(fence), "now": now, "new_gpu_seconds": gpu_seconds, **_ending(outcome)}
    if not rows:
        return False
    yield from _append(fence.id, lines)
    yield from _tell(fence.id, now)
    if isinstance(outcome, Succeeded):
        yield sql.SET_OUTPUT, {"id": fence.id, "new_output": outcome.output}
        if outcome.made:
            yield summaries.SET_MADE, {"of_seq": rows[0]["seq"], **summaries.made(outcome.made)}
        for file in outcome.files:
            yield sql.INSERT_FILE, {**to_json(file), "id": fence.id, "tenant": rows[0]["tenant"], "now": now}
    return True


def release(
    fence: Fence, *, now: float, failure: Error, counted: bool, lines: Iterable[LogLine] = ()
) -> Transaction[State | None]:
    """Gives a request back unfinished: queued again, or failed with ``failure`` when its attempts are used up.

    ``counted`` False refunds the attempt (the server is stopping; the request is not at fault). Returns the new
    state, or None when the fence is void.
    """
    rows = yield sql.HOLD_FOR_RELEASE, _fence(fence)
    if not rows:
        return None
    return (yield from _release(rows[0], now=now, failure=failure, counted=counted, lines=lines))


def recover(*, now: float, before: float, failure: Error) -> Transaction[list[tuple[str, State]]]:
    """Releases every running request whose lease expired before ``before``: its runner is gone."""
    line = LogLine(at=now, level="WARN", message="the runner of this attempt is gone")
    found: list[tuple[str, State]] = []
    for row in (yield sql.EXPIRED, {"before": before}):
        state = yield from _release(row, now=now, failure=failure, counted=True, lines=[line])
        found.append((row["id"], state))
    return found


def end_orphaned_runs(*, now: float) -> Transaction[list[str]]:
    """Ends waiting requests that lived on a connection of an earlier process: nobody can read their result."""
    rows = yield sql.END_QUEUED_RUNS, {"now": now, **_new_error(CLIENT_DISCONNECTED)}
    for row in rows:
        yield from _tell(row["id"], now)
    return [row["id"] for row in rows]


def end_late(*, now: float) -> Transaction[list[str]]:
    """Ends the waiting requests that should have started by ``now``. Returns their ids."""
    rows = yield sql.END_LATE, {"late": now, "now": now, **_new_error(STARTED_TOO_LATE)}
    for row in rows:
        line = LogLine(at=now, level="ERROR", message=STARTED_TOO_LATE.message)
        yield from _append(row["id"], [line])
        yield from _tell(row["id"], now)
    return [row["id"] for row in rows]


def cancel(id: str, *, now: float) -> Transaction[State | None]:
    """Ends a queued request, asks a running one to end. Returns the state that was found, None for an unknown id."""
    if (yield sql.CANCEL_QUEUED, {"request_id": id, "now": now, **_new_error(CANCELLED_BY_CLIENT)}):
        yield from _tell(id, now)
        return "queued"
    if (yield sql.CANCEL_RUNNING, {"request_id": id}):
        return "running"
    rows = yield sql.GET_STATE, {"id": id}
    state: State | None = rows[0]["state"] if rows else None
    return state


def due(*, now: float, most: int) -> Transaction[list[str]]:
    """Requests whose output has had its time: one for a single reader who did not come, or a private one."""
    return [row["id"] for row in (yield sql.DUE, {"now": now, "most": most})]


def forget_output(id: str) -> Transaction[list[str]]:
    """Leaves the row of a request without its output. Returns the names of the files to delete: those that were for
    one reader only."""
    yield sql.FORGET_OUTPUT, {"id": id}
    rows = yield sql.FORGOTTEN, {"request_id": id}
    if not any(row["ephemeral"] for row in rows):
        return []
    return [row["name"] for row in (yield sql.DELETE_FILES, {"id": id})]


def delete_payloads(tenant: str, id: str) -> Transaction[tuple[State | None, list[tuple[str, FileRole | None]]]]:
    """Removes input and output of a request that has ended.

    Returns the state that was found and the files to delete, each with what it is; nothing was removed unless the
    state is a final one. None: the tenant has no such request.
    """
    rows = yield sql.GET_STATE_OF, {"tenant": tenant, "id": id}
    state: State | None = rows[0]["state"] if rows else None
    if state not in TERMINAL:
        return state, []
    yield sql.DELETE_PAYLOAD, {"id": id}
    yield summaries.DELETE_SUMMARY, {"request_id": id}
    yield sql.FORGOTTEN, {"request_id": id}
    return state, [(row["name"], row["role"]) for row in (yield sql.DELETE_FILES, {"id": id})]


def get(id: str) -> Transaction[Request | None]:
    rows = yield sql.GET, {"id": id}
    return as_request(rows[0]) if rows else None


def get_logs(id: str) -> Transaction[list[LogLine]]:
    rows = yield sql.GET_LOGS, {"id": id}
    return [LogLine(**row) for row in rows]


def get_output(id: str) -> Transaction[str | None]:
    rows = yield sql.GET_OUTPUT, {"id": id}
    return rows[0]["output"] if rows else None


def queued(most: int, priority: Priority = "normal") -> Transaction[list[int]]:
    """Sequence numbers of the requests at the head of a queue, in order; never counts the whole of it."""
    (row,) = yield sql.QUEUED, {"of_priority": PRIORITIES.index(priority), "most": most}
    # SQL promises no order within the text.
    return sorted(map(int, row["seqs"].split(","))) if row["seqs"] else []


def get_file(name: str) -> Transaction[OwnedFile | None]:
    rows = yield sql.GET_FILE, {"name": name}
    return OwnedFile(name=name, **rows[0]) if rows else None


def all_files() -> Transaction[frozenset[str]]:
    rows = yield sql.ALL_FILES, {}
    return frozenset(row["name"] for row in rows)


def _append(id: str, lines: Iterable[LogLine]) -> Generator[Step, Sequence[Row], None]:
    for line in lines:
        yield sql.INSERT_LOG, {"id": id, **to_json(line)}


def _tell(id: str, now: float) -> Generator[Step, Sequence[Row], None]:
    """What follows in whichever transaction ends a request: its webhook is due, if it has one, and its input goes,
    if it is not to be kept."""
    yield outbox.POST_WEBHOOK, {"id": id, "now": now}
    yield sql.FORGET_INPUT, {"ended_id": id}


def as_request(found: Row) -> Request:
    row = dict(found)
    row["cancel_requested"] = bool(row["cancel_requested"])
    row["ephemeral"], row["private"] = bool(row["ephemeral"]), bool(row["private"])
    row["tags"] = json.loads(row["tags"]) if row["tags"] else {}
    row["error"] = Error(**json.loads(row["error"])) if row["error"] else None
    row["charge"] = as_charge(row)
    for name in _CHARGE:
        del row[name]
    return Request(**row)


def as_charge(row: Row) -> Charge | None:
    if row["cost"] is None:
        return None
    return Charge(
        quantity=Decimal(row["quantity"]),
        unit=row["unit"],
        unit_price=Decimal(row["unit_price"]),
        cost=Decimal(row["cost"]),
    )


def _ending(outcome: Outcome) -> dict[str, Any]:
    """The columns of a row that ends."""
    unknown = ("inference_seconds", "model", "safety", "computed", "forget_at", "effort", "video_seconds", *_CHARGE)
    ending: dict[str, Any] = {f"new_{name}": None for name in unknown}
    ending |= {"new_ephemeral": False, **_new_error(None)}
    match outcome:
        case Succeeded():
            ending |= {
                "new_state": "done",
                "new_model": outcome.model,
                "new_safety": outcome.safety,
                "new_computed": outcome.computed,
                "new_inference_seconds": outcome.inference_seconds,
                "new_ephemeral": outcome.ephemeral,
                "new_forget_at": outcome.forget_at,
                "new_effort": outcome.effort,
                "new_video_seconds": made.num_frames / made.fps if (made := outcome.made) else None,
            }
            if charge := outcome.charge:
                ending |= {f"new_{name}": str(getattr(charge, name)) for name in _CHARGE}
        case FailedFor():
            ending |= {"new_state": "failed", **_new_error(outcome.error)}
        case WasCancelled():
            ending |= {"new_state": "cancelled", **_new_error(CANCELLED_BY_CLIENT)}
    return ending


def _release(
    row: Row, *, now: float, failure: Error, counted: bool, lines: Iterable[LogLine]
) -> Generator[Step, Sequence[Row], State]:
    attempt = row["attempt"] if counted else row["attempt"] - 1
    state: State
    error: Error | None
    if row["cancel_requested"]:
        state, error = "cancelled", CANCELLED_BY_CLIENT
    elif attempt >= row["max_attempts"]:
        state, error = "failed", failure
    else:
        state, error = "queued", None
    yield (
        sql.RELEASE,
        {
            **_fence(Fence(id=row["id"], lease=row["lease"], attempt=row["attempt"])),
            "new_state": state,
            "new_attempt": attempt,
            "new_ended_at": now if state in TERMINAL else None,
            **_new_error(error),
        },
    )
    yield from _append(row["id"], lines)
    if state in TERMINAL:
        yield from _tell(row["id"], now)
    return state


def _new_error(error: Error | None) -> dict[str, str | None]:
    return {"new_error": _error_text(error), "new_error_kind": error.kind if error else None}


def _error_text(error: Error | None) -> str | None:
    return json.dumps(to_json(error)) if error else None


def _fence(fence: Fence) -> dict[str, Any]:
    return {"fence_id": fence.id, "fence_lease": fence.lease, "fence_attempt": fence.attempt}
