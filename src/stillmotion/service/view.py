"""A request as its owner sees it, at one moment or as it changes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stillmotion.errors import NotFound
from stillmotion.job import Progress
from stillmotion.service.changes import Watch
from stillmotion.service.ledger import units
from stillmotion.service.runner import MOVED
from stillmotion.store import waiting
from stillmotion.store.driver import Store
from stillmotion.store.records import TERMINAL, LogLine, Request

WOKEN = ""
LOOK_SECONDS = 10.0
"""A follower looks at the store this often without being told of a change; connections are kept alive at that pace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A request as its owner sees it."""

    request: Request
    queue_position: int | None = None
    """Requests ahead of it, while it is queued."""
    logs: list[LogLine] | None = None
    """None when they were not asked for."""
    output: dict[str, Any] | None = None
    progress: Progress | None = None
    """The last denoising step, while it runs in this process."""
    preview: bytes | None = None
    """The newest preview picture, a JPEG; told to followers of the progress alone."""
    inline: Path | None = None
    """The output's file, when the reader is to have it inside the answer; tell ``Service.received`` afterwards."""

    @property
    def completed(self) -> bool:
        return self.request.state in TERMINAL

    @property
    def billable_units(self) -> str:
        return units(self.request.charge)


class Steps(Protocol):
    """Who knows how far the requests are that run in this process, by their id."""

    def progress(self, id: str) -> Progress | None: ...

    def preview(self, id: str) -> bytes | None: ...


class Follower:
    """Tells what is new about one request, when there is something new: made by ``Service.follow``."""

    __slots__ = ("_after", "_logs", "_position", "_request", "_seen", "_steps", "_store", "_watch")

    def __init__(
        self,
        request: Request,
        watch: Watch,
        store: Store,
        position: Callable[[Request], Awaitable[int | None]],
        steps: Steps | None,
        *,
        logs: bool,
    ) -> None:
        self._request = request
        self._watch = watch
        self._store = store
        self._position = position
        self._steps = steps
        self._logs = logs
        self._after = 0
        self._seen: tuple[Any, ...] | None = None

    def wake(self) -> None:
        """Has ``next`` return soon."""
        self._watch.tell(WOKEN)

    async def next(self) -> View | None:
        """At first what there is, then what changed, its ``logs`` the lines that were not told yet.

        None: nothing changed for ``LOOK_SECONDS``, or somebody called ``wake``. Raises NotFound when the request is
        gone.
        """
        if self._seen is None:
            return await self._news(stored=True)
        while told := await self._watch.next(LOOK_SECONDS):
            names = told - {WOKEN}
            # If the queue moved, only its place in it may be another: that is known without the store.
            view = await self._news(stored=names != {MOVED}) if names else None
            if view or WOKEN in told:
                return view
        return await self._news(stored=True)

    async def _news(self, *, stored: bool) -> View | None:
        lines: list[LogLine] = []
        if stored:
            found = await self._store.read(waiting.watch(self._request.id, self._after))
            if found is None:
                raise NotFound
            self._request, lines, self._after = found
        view = View(
            request=self._request,
            queue_position=await self._position(self._request),
            logs=lines if self._logs else None,
            progress=self._steps.progress(self._request.id) if self._steps else None,
            preview=self._steps.preview(self._request.id) if self._steps else None,
        )
        seen = (view.request.state, view.queue_position, view.progress)
        if seen == self._seen and not view.logs:
            return None
        self._seen = seen
        return view
