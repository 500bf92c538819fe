"""The models folder over the wire: what lies in it, what a pull would bring, and pulls with their progress.

The work is done by a process of its own (``bundles.pull_program``), with the functions that the command line uses.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog

from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER, terms_of
from stillmotion.bundles.licence import Licence, licence_of
from stillmotion.bundles.pull_program import Order
from stillmotion.bundles.shelf import Shelf
from stillmotion.errors import BadRequest, BundleError, NotFound, Unavailable
from stillmotion.job import to_json
from stillmotion.service.about import About
from stillmotion.service.clock import wall_clock

log = structlog.get_logger()

PullState = Literal["running", "done", "failed", "stopped"]
LINE = 8 << 20
"""Bytes of the longest line: a plan with the texts of its licences."""
PLAN_SECONDS = 120.0
STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """A bundle that is here, begun, configured, or known by name."""

    name: str
    state: Literal["complete", "incomplete", "absent"]
    kind: Literal["bundle", "classifier"]
    size: int
    """Bytes on disk; of an absent one about those it would take."""
    missing: int
    licence: Licence | None
    accepted: str | None
    used_by: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class File:
    size: int
    done: int = 0
    state: Literal["waiting", "fetching", "checking", "done"] = "waiting"


@dataclass(slots=True, kw_only=True)
class Pull:
    """One pull, as far as it has come. Times are unix seconds."""

    name: str
    started_at: float
    state: PullState = "running"
    ended_at: float | None = None
    error: str | None = None
    kind: str | None = None
    """Of the error, as errors.py has it."""
    files: dict[str, File] = field(default_factory=dict)
    resumed: int = 0
    """Bytes that were here when it began."""
    task: "asyncio.Task[None] | None" = None
    planned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once its terms are settled and bytes flow, or it has ended."""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())

    @property
    def done(self) -> int:
        return sum(file.done for file in self.files.values())

    @property
    def bytes_per_second(self) -> float | None:
        """Since it began; None before there is anything to go by."""
        seconds = (self.ended_at or wall_clock()) - self.started_at
        return (self.done - self.resumed) / seconds if seconds >= 1 and self.done > self.resumed else None


class ModelShelf:
    """Raises BadRequest for what a person can mend, NotFound, and Unavailable where the hub cannot be reached."""

    def __init__(self, about: About) -> None:
        self._about, self._shelf = about, Shelf(about.models)
        self._pulls: dict[str, Pull] = {}

    async def every(self) -> list[Shelved]:
        return await asyncio.to_thread(self._every)

    async def plan(self, name: str, without: Sequence[str] = ()) -> Mapping[str, Any]:
        """What a pull of ``name`` would bring, asked of the hub now."""
        async with asyncio.timeout(PLAN_SECONDS), self._told(self._order(name, without)) as lines:
            async for line in lines:
                if "error" in line:
                    raise _error(line["error"], line["kind"])
                plan: Mapping[str, Any] = line["plan"]
                return plan
        raise Unavailable("the plan could not be made")

    async def pull(self, name: str, *, without: Sequence[str], accepted_by: str | None) -> Pull:
        """Begins a pull, or gives the one that runs. Returns once bytes flow, or it is over."""
        self._known(name)
        pull = self._pulls.get(name)
        if pull is None or pull.state != "running":
            pull = self._pulls[name] = Pull(name=name, started_at=wall_clock())
            order = self._order(name, without, pull=True, accepted_by=accepted_by)
            pull.task = asyncio.create_task(self._follow(pull, order))
        await asyncio.wait_for(pull.planned.wait(), PLAN_SECONDS)
        if pull.state == "failed" and not pull.files:
            raise _error(pull.error, pull.kind)
        return pull

    def progress(self, name: str) -> Pull:
        """The pull that runs, or the last one since the start."""
        if name not in self._pulls:
            raise NotFound(f"Nothing called {name!r} was pulled since the server started")
        return self._pulls[name]

    def latest(self, name: str) -> Pull | None:
        return self._pulls.get(name)

    async def stop(self, name: str) -> Pull:
        """Ends a pull; what is here is kept, and the next one goes on from there."""
        pull = self.progress(name)
        if pull.task is not None and pull.state == "running":
            pull.task.cancel()
            await asyncio.wait([pull.task])
        return pull

    async def remove(self, name: str) -> None:
        """Deletes what is here of ``name``. Raises NotFound, and BadRequest for what is in use or worked at."""
        if used := self._about.used_by.get(name):
            raise BadRequest(f"{name} is configured for {', '.join(used)}; start the server without it first")
        pull = self._pulls.get(name)
        if pull is not None and pull.state == "running":
            raise BadRequest(f"{name} is being pulled; stop that first")
        try:
            if name not in await asyncio.to_thread(self._shelf.names):
                raise NotFound(f"There is no {name!r} in {self._about.models}")
            await asyncio.to_thread(self._shelf.remove, name)
        except BundleError as error:
            raise BadRequest(error.message) from None
        self._pulls.pop(name, None)
        log.info("bundle removed", bundle=name)

    async def close(self) -> None:
        for name in self._pulls:
            await self.stop(name)

    def _every(self) -> list[Shelved]:
        found = {}
        for here in self._shelf.installed():
            found[here.name] = Shelved(
                name=here.name,
                state="complete" if here.state == "whole" else "incomplete",
                kind=here.kind,
                size=here.size,
                missing=here.missing,
                licence=licence_of(self._shelf.folder(here.name)) or _known_licence(here.name, here.licence),
                accepted=here.accepted or None,
                used_by=self._about.used_by.get(here.name, ()),
            )
        sizes = {**{name: bundle.size for name, bundle in BUNDLES.items()}, CLASSIFIER.name: CLASSIFIER.size}
        for name, size in sizes.items():
            if name not in found:
                found[name] = Shelved(
                    name=name,
                    state="absent",
                    kind="classifier" if name == CLASSIFIER.name else "bundle",
                    size=size,
                    missing=size,
                    licence=_known_licence(name, ""),
                    accepted=None,
                    used_by=self._about.used_by.get(name, ()),
                )
        return list(found.values())

    def _known(self, name: str) -> None:
        if name not in BUNDLES and name != CLASSIFIER.name:
            raise NotFound(f"No bundle is known as {name!r}; known are {', '.join((*BUNDLES, CLASSIFIER.name))}")

    def _order(self, name: str, without: Sequence[str], *, pull: bool = False, accepted_by: str | None = None) -> Order:
        self._known(name)
        return Order(
            name=name,
            models=str(self._about.models),
            reserve=self._about.min_free,
            without=tuple(without),
            pull=pull,
            accepted_by=accepted_by,
        )

    async def _follow(self, pull: Pull, order: Order) -> None:
        try:
            async with self._told(order) as lines:
                async for line in lines:
                    _note(pull, line)
            if pull.state == "running":
                pull.state, pull.error = "failed", pull.error or "the process that pulled it ended unexpectedly"
        except asyncio.CancelledError:
            pull.state = "stopped"
        except Exception as error:
            log.exception("a pull broke", bundle=pull.name)
            pull.state, pull.error = "failed", str(error)
        finally:
            pull.ended_at = wall_clock()
            pull.planned.set()
            log.info("pull ended", bundle=pull.name, state=pull.state)

    @asynccontextmanager
    async def _told(self, order: Order) -> "AsyncIterator[AsyncIterator[dict[str, Any]]]":
        """The lines of the process that works at ``order``; it ends with the block."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "stillmotion.bundles.pull_program", json.dumps(to_json(order))),
            stdin=asyncio.subprocess.PIPE,  # it ends when this one does
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE,
            start_new_session=True,
        )
        try:
            yield _lines(child)
        finally:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def _lines(child: asyncio.subprocess.Process) -> AsyncIterator[dict[str, Any]]:
    assert child.stdout is not None
    while line := await child.stdout.readline():
        yield json.loads(line)


def _note(pull: Pull, line: Mapping[str, Any]) -> None:
    if "plan" in line:
        pull.files = {name: File(size=size) for name, size in line["plan"]["files"].items()}
        pull.resumed = pull.size - line["plan"]["to_fetch"]
    elif "error" in line:
        pull.state, pull.error, pull.kind = "failed", line["error"], line["kind"]
        if not any(file.state != "waiting" for file in pull.files.values()):
            pull.files = {}
        pull.planned.set()
    elif "done" in line and "file" not in line:
        pull.state = "done"
        for file in pull.files.values():
            file.state, file.done = "done", file.size
    elif (told := pull.files.get(line["file"])) is not None:
        told.state = line["state"]
        told.done = told.size if line["state"] == "done" else line["done"]
        pull.planned.set()


def _error(message: str | None, kind: str | None) -> Exception:
    return Unavailable(message) if kind == Unavailable.kind else BadRequest(message)


def _known_licence(name: str, told: str) -> Licence | None:
    bundle = BUNDLES.get(name)
    repository = CLASSIFIER.repository if name == CLASSIFIER.name else bundle.repository if bundle else None
    if repository is None:
        return Licence(name=told) if told else None
    terms = terms_of(repository)
    return Licence(name=terms.name, url=terms.url)
