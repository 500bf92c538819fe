"""A small looping video for each endpoint's card, made by the model that serves it.

Made when somebody has asked for it, as a request of low priority, on an engine that has nothing to do and would load
no other weights for it. As soon as anybody else's request waits or runs, it is given up, between two steps, and tried
again in a quieter moment. What was made is kept under the data folder, for this bundle.
"""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import structlog

from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.errors import AlreadyCompleted, InputError, NotFound, StillmotionError
from stillmotion.files.photographs import PHOTOGRAPHS, Photograph
from stillmotion.media.playable import Frame, write_playable
from stillmotion.service.about import About
from stillmotion.service.attempt import Parts
from stillmotion.service.changes import Changes
from stillmotion.service.engines import Engine
from stillmotion.service.photographs import PATH
from stillmotion.service.runner import QUEUE
from stillmotion.service.view import View
from stillmotion.service.weights import weights_key
from stillmotion.store import history
from stillmotion.store.records import Options, Origin

log = structlog.get_logger()

TENANT = "~samples"
"""No key can have this name."""
FRAME = Frame(width=480, height=270)
PERIOD = 1.0
"""Seconds between two looks at what the engines do."""
QUIET_LOOKS = 3
"""Looks in a row in which nobody wanted anything, before the server counts as idle."""
TRIES = 5
"""Of one endpoint in the life of the process, given up or failed."""
KEPT_SECONDS = 600.0
"""How long the result of the request itself is kept, should this process end before it is deleted."""
WISHES: Mapping[str, Any] = {
    "video_size": {"width": 512, "height": 320},
    "num_frames": 49,
    "fps": 24,
    "seed": 7,
    "generate_audio": False,
    "enable_prompt_expansion": False,
}
"""Where an endpoint has these fields: two seconds, small and without sound."""


class Receipt(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def app(self) -> str: ...


class Desk(Protocol):
    """The service, as any caller has it."""

    async def submit(
        self, tenant: str, endpoint_id: str, body: Mapping[str, Any], origin: Origin, *, options: Options
    ) -> Receipt: ...
    async def result(self, tenant: str, app: str, id: str) -> View: ...
    async def cancel(self, tenant: str, app: str, id: str) -> None: ...


class CardSamples:
    """``engines`` gives the engines as they are; ``forget`` deletes what a request of a tenant left."""

    def __init__(
        self,
        desk: Callable[[], Desk],
        parts: Parts,
        changes: Changes,
        about: About,
        engines: Callable[[], Iterable[Engine]],
        forget: Callable[[str, str], Any],
    ) -> None:
        self._desk, self._parts, self._changes, self._about = desk, parts, changes, about
        self._engines, self._forget = engines, forget
        self._folder = about.data / "samples"
        self._plain = {"", *(self._weights(endpoint) for endpoint in parts.endpoints.values() if _can(endpoint))}
        """What an engine's weights are called while no LoRA of a request is merged."""
        self._wanted: dict[str, Endpoint] = {}
        self._tries: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    def find(self, endpoint: Endpoint) -> Path | None:
        """The video of the endpoint's card, if there is one."""
        path = self._path(endpoint)
        return path if path.is_file() else None

    def ask(self, endpoint: Endpoint) -> Path | None:
        """As ``find``; what is missing is made in a quiet moment, unless the operator turned that off."""
        found = self.find(endpoint)
        if found is None and self._about.card_samples and self._tries[endpoint.id] < TRIES and _can(endpoint):
            self._wanted[endpoint.id] = endpoint
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._make_all())
        return found

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _path(self, endpoint: Endpoint) -> Path:
        """Of another bundle, or another release of it, it is another file."""
        model = self._parts.models.of(endpoint.id).name
        manifest = self._about.models / model / "stillmotion.json"
        stamp = manifest.stat().st_mtime_ns if manifest.is_file() else 0
        digest = hashlib.sha256(f"{endpoint.id}\n{model}\n{stamp}".encode()).hexdigest()
        return self._folder / f"{digest[:32]}.mp4"

    async def _make_all(self) -> None:
        """Until nothing is wanted any more."""
        quiet = 0
        while self._wanted:
            await asyncio.sleep(PERIOD)
            try:
                quiet = 0 if await self._others(None) else quiet + 1
                endpoint = next(filter(self._is_cheap, self._wanted.values()), None)
                if quiet < QUIET_LOOKS or endpoint is None:
                    continue
                quiet = 0
                self._tries[endpoint.id] += 1
                if await self._make(endpoint) or self._tries[endpoint.id] == TRIES:
                    del self._wanted[endpoint.id]
            except (StillmotionError, OSError, TimeoutError) as error:
                log.warning("a card's sample could not be made", error=str(error))

    async def _make(self, endpoint: Endpoint) -> bool:
        desk = self._desk()
        options = Options(priority="low", retry=False, file_seconds=KEPT_SECONDS)
        # Of origin "run": should this process end, nobody waits for it, and the next start ends it.
        receipt = await desk.submit(TENANT, endpoint.id, _input(endpoint), "run", options=options)
        try:
            view = await self._result_unless_disturbed(desk, receipt)
            if view is None or view.output is None:
                return False
            await self._keep(endpoint, view.output["video"]["url"])
            log.info("a card's sample was made", endpoint=endpoint.id)
            return True
        finally:
            await asyncio.shield(self._clear(desk, receipt))

    async def _result_unless_disturbed(self, desk: Desk, receipt: Receipt) -> View | None:
        with self._changes.watch(receipt.id, QUEUE) as watch:
            while not (view := await desk.result(TENANT, receipt.app, receipt.id)).completed:
                if await self._others(receipt.id):
                    return None
                await watch.next(PERIOD)
        return view

    async def _keep(self, endpoint: Endpoint, url: str) -> None:
        path = self._path(endpoint)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        beside = path.with_suffix(".new.mp4")
        await write_playable(self._parts.blobs.path(url.rpartition("/")[2]), beside, within=FRAME, sound=False)
        beside.replace(path)

    async def _clear(self, desk: Desk, receipt: Receipt) -> None:
        """Leaves nothing of the request but its row."""
        with contextlib.suppress(StillmotionError):
            with contextlib.suppress(AlreadyCompleted):
                await desk.cancel(TENANT, receipt.app, receipt.id)
            with self._changes.watch(receipt.id) as watch, contextlib.suppress(NotFound):
                while not (await desk.result(TENANT, receipt.app, receipt.id)).completed:
                    await watch.next(PERIOD)
            await self._forget(TENANT, receipt.id)

    def _weights(self, endpoint: Endpoint) -> str:
        try:
            return weights_key(endpoint.parse(_input(endpoint), self._parts.preparation.bounds))
        except InputError:  # the operator's bounds allow none of it: its request will fail
            return ""

    async def _others(self, own: str | None) -> bool:
        """Whether anybody else's request waits or runs."""
        depths = (await self._parts.store.read(history.depths())).values()
        busy = sum(sum(depth.waiting.values()) + depth.running for depth in depths)
        return busy > (own is not None)

    def _is_cheap(self, endpoint: Endpoint) -> bool:
        """Whether an engine that takes requests can make it without changing what it has in memory."""
        model = self._parts.models.of(endpoint.id).name
        return any(
            endpoint.id in engine.endpoints
            and not engine.withdrawn
            and engine.weights in self._plain
            and (engine.model == model or (engine.model is None and len(engine.models) == 1))
            for engine in self._engines()
        )


def photograph_for(endpoint_id: str) -> Photograph:
    """What an endpoint's card shows: by its place among the cards, so that neighbours differ."""
    photographs, places = tuple(PHOTOGRAPHS.values()), tuple(CATALOGUE)
    return photographs[places.index(endpoint_id) % len(photographs)] if endpoint_id in places else photographs[0]


def _can(endpoint: Endpoint) -> bool:
    """Whether the wishes make sense for the endpoint: one that makes a video of a picture."""
    return "image_url" in endpoint.image_fields and "video" in endpoint.output.model_fields


def _input(endpoint: Endpoint) -> dict[str, Any]:
    """The wishes, and a photograph of the package, resolved inside the server."""
    chosen, fields = photograph_for(endpoint.id), endpoint.input.model_fields
    wishes = {name: value for name, value in WISHES.items() if name in fields}
    return {**wishes, "prompt": chosen.prompt, "image_url": f"http://127.0.0.1{PATH}{chosen.name}"}
