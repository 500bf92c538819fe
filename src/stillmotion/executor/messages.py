"""Everything that crosses the border between the platform's process and an engine's process.

One message is one line of JSON: ``{"type": NAME, ...fields}``, in UTF-8, ended by a newline, at most ``MAX_LINE``
bytes. Pictures, sound and files cross as paths.

    platform                                engine
       Configure  ─────────────────────────>         once, first
                  <───────────────────────── Ready   once; or Unfit, and the process ends
                  <───────────────────────── Loaded  whenever weights have been loaded
       Run        ─────────────────────────>
                  <───────────────────────── Report  any number, the last one with Done, Failed or Cancelled
       Cancel     ─────────────────────────>         between two steps; unknown ids are ignored
       Shutdown   ─────────────────────────>         the process ends at once, as it does when the channel closes
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stillmotion.job import Cancelled, Done, Event, Failed, Log, Model, Progress, Work, from_json, to_json
from stillmotion.safety.configuration import Classifier

MAX_LINE = 1 << 20
"""Bytes. The largest is Run: two prompts of 5,000 characters, each at most 6 bytes as escaped JSON, and some paths."""

MAX_LOG = 4096
"""Characters of a log message; a library's longer one is cut by the sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How an engine uses its device: what trades memory, time and precision."""

    memory: Literal["auto", "resident", "swapped", "streamed"] = "auto"
    """Where weights are while they are not needed."""
    device_memory_bytes: int | None = None
    """Of the device; None: what is free."""
    host_memory_bytes: int | None = None
    """Of the host, for weights that are off the device; None: what is free."""
    engines: int = 1
    """How many share what is free of the host."""
    weights: Literal["auto", "float8"] = "auto"
    """Format that the transformer's weights are stored in."""
    attention: Literal["auto", "sdpa", "cudnn", "flash", "flash_3", "sage"] = "auto"
    """Kernels of attention."""
    compiled: bool = False
    """Whether the transformer's blocks are compiled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    bundles: Mapping[str, str]
    """Model name to bundle folder."""
    device: str
    dtype: str
    threads: int | None
    """Processor threads of one operation; None: the library's choice."""
    classifier: Classifier | None = None
    """What looks at pictures and frames; None: nobody does."""
    parallel: Literal["guidance", "context"] = "guidance"
    """What the devices of one engine share out, where ``device`` names several: passes, or tokens."""
    expansion_seconds: float = 60.0
    """How long the text model may rewrite a prompt."""
    tuning: Tuning = Tuning()
    parent: int = 0
    """The platform's pid, filled in by the process that starts the engine: the engine ends with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """No work can be done with this configuration; ``kind`` and ``message`` of the error that says why."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    model: str
    device: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    work: Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    work_id: str
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    work_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    pass


Message = Configure | Ready | Unfit | Loaded | Run | Report | Cancel | Shutdown

_MESSAGES: Mapping[str, type[Message]] = {
    kind.__name__: kind for kind in (Configure, Ready, Unfit, Loaded, Run, Report, Cancel, Shutdown)
}
_EVENTS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in (Log, Progress, Done, Failed, Cancelled)}


def encode(message: Message) -> bytes:
    """The line for ``message``. Raises ValueError when it is longer than ``MAX_LINE``."""
    body = to_json(message)
    if isinstance(message, Report):
        body["event"] = {"type": type(message.event).__name__, **body["event"]}
    line = json.dumps({"type": type(message).__name__, **body}).encode() + b"\n"
    if len(line) > MAX_LINE:
        raise ValueError(f"a {type(message).__name__} message of {len(line)} bytes is longer than {MAX_LINE}")
    return line


def decode(line: bytes) -> Message:
    """The inverse of ``encode``. Raises ValueError for anything that is not a message."""
    try:
        body: dict[str, Any] = json.loads(line)
        kind = _MESSAGES[body.pop("type")]
        if kind is Report:
            event = body["event"]
            return Report(work_id=body["work_id"], event=from_json(_EVENTS[event.pop("type")], event))
        return from_json(kind, body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a message of this protocol: {line[:200]!r}") from error
