"""The state machine of a request, as transactions that perform no input or output.

                    submit ──────────────► failed           (input that can never run)
                      │
                      ▼       claim
      ┌──────────► queued ──────────► running ──── settle ──► done | failed | cancelled
      │              │                   │
      │              └─ cancel ► cancelled
      └───────────────── release, recover┘                  (attempts left; else failed)

A transition is a generator: it yields ``(statement, parameters)``, is sent the rows, and returns its result. A driver
runs each one in a database transaction of its own, so the same machine serves a synchronous driver in a writer thread
and an asynchronous one. Every write on behalf of a runner names the fence (id, lease, attempt) in its WHERE clause;
no rows back means that the fence is void and that nothing was changed.

``now`` is wall-clock unix seconds; ``tick`` is the clock of the leases, which never jumps (see the drivers).
"""

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import Executable

from stillmotion.job import to_json
from stillmotion.store import statements as sql
from stillmotion.store.records import (
    TERMINAL,
    Beat,
    Charge,
    Claim,
    Error,
    FailedFor,
    Fence,
    LogLine,
    NewRequest,
    Outcome,
    Request,
    State,
    StoredFile,
    Succeeded,
    WasCancelled,
)

Result = TypeVar("Result")
Row = Mapping[str, Any]
Step = tuple[Executable, Mapping[str, Any]]
Transaction = Generator[Step, Sequence[Row], Result]

_CHARGE = ("quantity", "unit", "unit_price", "cost")

CANCELLED_BY_CLIENT = Error(kind="client_cancelled", message="Request cancelled by the client.")
CLIENT_DISCONNECTED = Error(kind="client_disconnected", message="The client of this request went away.")


def submit(
    new: NewRequest, *, now: float, error: Error | None = None, lines: Iterable[LogLine] = ()
) -> Transaction[int]:
    """Stores a request: queued, or failed at once with ``error`` when its input can never run. Returns its ``seq``."""
    state: State = "failed" if error else "queued"
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
        },
    )
    yield sql.INSERT_PAYLOAD, {"id": new.id, "input": new.input}
    yield from _append(new.id, lines)
    seq: int = row["seq"]
    return seq


def claim(lease: str, *, now: float, expires: float) -> Transaction[Claim | None]:
    """Takes the longest waiting request, in one statement."""
    rows = yield sql.CLAIM, {"new_lease": lease, "expires": expires, "now": now}
    if not rows:
        return None
    (row,) = rows
    (payload,) = yield sql.GET_INPUT, {"id": row["id"]}
    return Claim(
        fence=Fence(id=row["id"], lease=lease, attempt=row["attempt"]),
        tenant=row["tenant"],
        endpoint=row["endpoint"],
        input=payload["input"],
        created_at=row["created_at"],
        max_attempts=row["max_attempts"],
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
    if isinstance(outcome, Succeeded):
        yield sql.SET_OUTPUT, {"id": fence.id, "new_output": outcome.output}
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
    return [row["id"] for row in rows]


def cancel(id: str, *, now: float) -> Transaction[State | None]:
    """Ends a queued request, asks a running one to end. Returns the state that was found, None for an unknown id."""
    if (yield sql.CANCEL_QUEUED, {"request_id": id, "now": now, **_new_error(CANCELLED_BY_CLIENT)}):
        return "queued"
    if (yield sql.CANCEL_RUNNING, {"request_id": id}):
        return "running"
    rows = yield sql.GET_STATE, {"id": id}
    state: State | None = rows[0]["state"] if rows else None
    return state


def due(*, now: float, most: int) -> Transaction[list[str]]:
    """Requests whose output was for one reader, who did not come in time."""
    return [row["id"] for row in (yield sql.DUE, {"now": now, "most": most})]


def forget_output(id: str) -> Transaction[list[str]]:
    """Leaves the row of a request without its output. Returns the names of the files to delete."""
    yield sql.FORGET_OUTPUT, {"id": id}
    yield sql.FORGOTTEN, {"request_id": id}
    return [row["name"] for row in (yield sql.DELETE_FILES, {"id": id})]


def delete_payloads(tenant: str, id: str) -> Transaction[tuple[State | None, list[str]]]:
    """Removes input and output of a request that has ended.

    Returns the state that was found and the names of the files to delete; nothing was removed unless the state is a
    final one. None: the tenant has no such request.
    """
    rows = yield sql.GET_STATE_OF, {"tenant": tenant, "id": id}
    state: State | None = rows[0]["state"] if rows else None
    if state not in TERMINAL:
        return state, []
    yield sql.DELETE_PAYLOAD, {"id": id}
    yield sql.FORGOTTEN, {"request_id": id}
    return state, [row["name"] for row in (yield sql.DELETE_FILES, {"id": id})]


def get(id: str) -> Transaction[Request | None]:
    rows = yield sql.GET, {"id": id}
    return as_request(rows[0]) if rows else None


def get_logs(id: str) -> Transaction[list[LogLine]]:
    rows = yield sql.GET_LOGS, {"id": id}
    return [LogLine(**row) for row in rows]


def get_output(id: str) -> Transaction[str | None]:
    rows = yield sql.GET_OUTPUT, {"id": id}
    return rows[0]["output"] if rows else None


def queued(most: int) -> Transaction[list[int]]:
    """Sequence numbers of the requests at the head of the queue, in order; never counts the whole of it."""
    rows = yield sql.QUEUED, {"most": most}
    return [row["seq"] for row in rows]


def get_file(name: str) -> Transaction[StoredFile | None]:
    rows = yield sql.GET_FILE, {"name": name}
    return StoredFile(name=name, **rows[0]) if rows else None


def all_files() -> Transaction[frozenset[str]]:
    rows = yield sql.ALL_FILES, {}
    return frozenset(row["name"] for row in rows)


def _append(id: str, lines: Iterable[LogLine]) -> Generator[Step, Sequence[Row], None]:
    for line in lines:
        yield sql.INSERT_LOG, {"id": id, **to_json(line)}


def as_request(found: Row) -> Request:
    row = dict(found)
    row["cancel_requested"] = bool(row["cancel_requested"])
    row["ephemeral"] = bool(row["ephemeral"])
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
    ending: dict[str, Any] = dict.fromkeys(
        ("new_inference_seconds", "new_model", "new_forget_at", *(f"new_{name}" for name in _CHARGE))
    )
    ending |= {"new_ephemeral": False, **_new_error(None)}
    match outcome:
        case Succeeded():
            ending |= {
                "new_state": "done",
                "new_model": outcome.model,
                "new_inference_seconds": outcome.inference_seconds,
                "new_ephemeral": outcome.forget_at is not None,
                "new_forget_at": outcome.forget_at,
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
    return state


def _new_error(error: Error | None) -> dict[str, str | None]:
    return {"new_error": _error_text(error), "new_error_kind": error.kind if error else None}


def _error_text(error: Error | None) -> str | None:
    return json.dumps(to_json(error)) if error else None


def _fence(fence: Fence) -> dict[str, Any]:
    return {"fence_id": fence.id, "fence_lease": fence.lease, "fence_attempt": fence.attempt}
