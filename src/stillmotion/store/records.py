"""What goes into the store and what comes out: plain frozen values, no SQL and no driver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

State = Literal["queued", "running", "done", "failed", "cancelled"]
Origin = Literal["queue", "run"]
TERMINAL: frozenset[State] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    at: float
    level: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """Why a request failed: a ``kind`` of errors.py, a sentence, and for faulty input the details by field."""

    kind: str
    message: str
    details: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """``id`` is made before the insert, so an ambiguous commit can be looked up or repeated."""

    id: str
    tenant: str
    app: str
    endpoint: str
    origin: Origin
    input: str
    """The body as JSON text."""
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The right to write to a running request: void as soon as it is released, settled or claimed again."""

    id: str
    lease: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    fence: Fence
    tenant: str
    endpoint: str
    input: str
    created_at: float
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    name: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a request costs: ``quantity`` of ``unit`` at ``unit_price`` each."""

    quantity: Decimal
    unit: str
    unit_price: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    output: str
    """The output object as JSON text."""
    files: tuple[StoredFile, ...]
    model: str
    inference_seconds: float
    charge: Charge | None = None
    """None: not priced."""
    forget_at: float | None = None
    """Unix time at which an output for one reader only is deleted, if nobody read it; None: an output that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedFor:
    error: Error


@dataclass(frozen=True, slots=True, kw_only=True)
class WasCancelled:
    pass


Outcome = Succeeded | FailedFor | WasCancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as its readers see it; the payloads are read apart."""

    seq: int
    id: str
    tenant: str
    app: str
    endpoint: str
    origin: Origin
    state: State
    created_at: float
    started_at: float | None
    ended_at: float | None
    inference_seconds: float | None
    model: str | None
    attempt: int
    cancel_requested: bool
    error: Error | None
    charge: Charge | None
    gpu_seconds: float | None
    """Seconds that the engine worked on the last attempt; None when it never began."""
    ephemeral: bool
    """The output is for one reader only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Answer to a heartbeat: whether the fence still holds, and whether somebody asked to cancel."""

    held: bool
    cancel_requested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What went in and came out, as JSON text."""

    input: str
    output: str | None


Order = Literal["ended_at", "duration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which ended requests of a tenant are meant, newest or longest first."""

    tenant: str
    endpoints: tuple[str, ...]
    start: float
    end: float
    """Unix times at which they ended; ``end`` itself is not included."""
    kinds: frozenset[str] | None = None
    """Kinds of error, the empty one for success; None: all."""
    id: str | None = None
    order: Order = "ended_at"
    after: tuple[float, int] | None = None
    """Sort key and ``seq`` of the last one that was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """``requests`` successes that cost the same, ended within one slot of time."""

    tenant: str
    endpoint: str
    slot: float
    """Unix time at which the slot begins."""
    requests: int
    charge: Charge | None
    """Of each of them."""
    gpu_seconds: float
    """Of all of them."""
