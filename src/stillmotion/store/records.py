"""What goes into the store and what comes out: plain frozen values, no SQL and no driver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Priority = Literal["normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("normal", "low")
"""In the order in which they are served."""
State = Literal["queued", "running", "done", "failed", "cancelled"]
Origin = Literal["queue", "run"]
Safety = Literal["checked", "unchecked"]
TERMINAL: frozenset[State] = frozenset({"done", "failed", "cancelled"})


Scope = Literal["api", "admin"]
"""What a key is good for: its tenant's own requests and files, or everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key as it is stored."""

    id: str
    tenant: str
    scope: Scope
    digest: str
    """SHA-256 of the secret, in hexadecimal."""
    created_at: float
    revoked_at: float | None


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
class Options:
    """How a request is to be handled, apart from what it asks for."""

    priority: Priority = "normal"
    start_within: float | None = None
    """Seconds after which a request that still waits has failed; None: it waits for as long as it takes."""
    retry: bool = True
    """Whether a lost attempt may be made again."""
    private: bool = False
    """The history has neither its input nor its output, and both are deleted soon after its end."""
    file_seconds: float | None = None
    """How long its output files are kept; None: for ever."""
    acl: str | None = None
    """Who may read its output files, as JSON; None: as the server is set."""
    tags: Mapping[str, str] = field(default_factory=dict)
    preview: bool = False
    """Whether small pictures are to be made of it while it is worked at."""


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
    prompt: str | None = None
    """For the history; None: nothing to show."""
    max_attempts: int
    weights: str = ""
    """Digest of the LoRAs that it needs."""
    options: Options = field(default_factory=Options)
    webhook: "Webhook | None" = None
    """Who is told when it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which waiting request an engine takes: the longest waiting of the first of these groups that is not empty, among
    those of the highest priority that waits.

    1. the longest waiting of all, if it came before ``impatient_before``;
    2. those of a ``warm`` endpoint that need ``weights``;
    3. those of a ``warm`` endpoint;
    4. the others of ``endpoints``.
    """

    endpoints: tuple[str, ...]
    """It can do no other."""
    warm: tuple[str, ...] = ()
    """Endpoints whose model it has in memory."""
    weights: str = ""
    impatient_before: float = float("inf")
    """Wall-clock seconds. Infinite: strictly by age."""


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
    weights: str
    private: bool
    file_seconds: float | None
    preview: bool
    acl: str | None


FileRole = Literal["output", "poster", "playable"]
"""What was made, a picture of it, and a copy that every browser plays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    name: str
    content_type: str
    size: int
    file_name: str | None = None
    """Of an upload: what its sender called it."""
    expires_at: float | None = None
    """Unix time at which it is deleted; None: it is kept."""
    role: FileRole | None = None
    """What it is to its request; None: an upload."""
    acl: str | None = None
    """Who may read it besides its tenant, as JSON; None: as the server is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedFile(StoredFile):
    """A file that is in the store."""

    tenant: str


UploadState = Literal["open", "sealed", "complete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload that takes more than one request; ``id`` is what its sender must know."""

    id: str
    tenant: str
    file: str
    """The name that the stored file will have."""
    file_name: str
    content_type: str
    lifetime: float | None
    """Seconds that the file is kept once it is whole; None: for ever."""
    multipart: bool
    state: UploadState
    expires_at: float
    acl: str | None
    """Of its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of an upload that is on disk, in the file called ``file``."""

    number: int
    file: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a request costs: ``quantity`` of ``unit`` at ``unit_price`` each."""

    quantity: Decimal
    unit: str
    unit_price: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of a success, in numbers for a listing."""

    seed: int | None
    """None: not to be shown."""
    width: int
    height: int
    num_frames: int
    fps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    output: str
    """The output object as JSON text."""
    files: tuple[StoredFile, ...]
    model: str
    inference_seconds: float
    safety: Safety | None = None
    """None: its caller did not ask for the checker."""
    computed: str | None = None
    """Size and frames that the network computed, for people."""
    charge: Charge | None = None
    """None: not priced."""
    ephemeral: bool = False
    """The output is for one reader only."""
    forget_at: float | None = None
    """Unix time at which the output is deleted; None: it is kept."""
    effort: str | None = None
    """The class of works that take about as long; None: not known."""
    made: Made | None = None


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
    safety: Safety | None
    """Of a success that was to be checked: whether it was."""
    computed: str | None
    attempt: int
    cancel_requested: bool
    error: Error | None
    charge: Charge | None
    gpu_seconds: float | None
    """Seconds that the engine worked on the last attempt; None when it never began."""
    ephemeral: bool
    """The output is for one reader only."""
    priority: int
    """An index into ``PRIORITIES``."""
    private: bool
    """Its payloads are not for the history."""
    tags: Mapping[str, str]
    engine: str | None
    """The engine that took it last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The front of the queue of one priority."""

    seqs: Sequence[int]
    """Of the requests at its head, in order."""
    last: int | None
    """Of the newest one; None: nobody waits."""


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
    video_seconds: float = 0.0


WebhookState = Literal["waiting", "pending", "delivered", "failed"]
"""Waiting for its request to end; to be delivered, perhaps again; taken; given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    url: str
    host: str
    """Of ``url``."""
    origin: str
    """Before the paths of files in what is delivered: where the client that submitted reaches this server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A claimed delivery: ``attempt`` counts all that ever began, ``failures`` those of the present schedule."""

    seq: int
    request_id: str
    tenant: str
    url: str
    host: str
    origin: str
    attempt: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of one delivery: the receiver's status, or a word for why there is none."""

    attempt: int
    at: float
    seconds: float | None
    status: int | None
    error: str | None
    next_at: float | None = None
    """Unix time of the next delivery, if there was to be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookStatus:
    """A webhook as its owner sees it."""

    seq: int
    request_id: str
    tenant: str
    endpoint: str
    url: str
    state: WebhookState
    attempt: int
    due_at: float | None
    """Unix time of the next delivery; None while one is under way and when there is to be none."""
