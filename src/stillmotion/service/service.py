"""The verbs of the platform: submit, status, result, cancel. Knows requests and tenants, not HTTP."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stillmotion.endpoints.documents.page import index
from stillmotion.endpoints.documents.render import Kind, render
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.errors import AlreadyCompleted, NotFound, Unavailable, ValidationError
from stillmotion.job import Progress
from stillmotion.service import faults
from stillmotion.service.attempt import FILES_PATH, Parts
from stillmotion.service.changes import Changes
from stillmotion.service.clock import wall_clock
from stillmotion.service.forgetting import forget_output
from stillmotion.service.ledger import Ledger, units
from stillmotion.service.queue_positions import QueuePositions
from stillmotion.service.runner import QUEUE, Runner
from stillmotion.store import transitions
from stillmotion.store.records import TERMINAL, Error, LogLine, NewRequest, Origin, Request, StoredFile

WAIT_SECONDS = 1.0
"""A waiter looks at the store this often on its own; changes of this process wake it at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a submit answers: the request is on disk under ``id``."""

    id: str
    app: str
    queue_position: int


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
    inline: Path | None = None
    """The output's file, when the reader is to have it inside the answer; tell ``Service.received`` afterwards."""

    @property
    def completed(self) -> bool:
        return self.request.state in TERMINAL

    @property
    def billable_units(self) -> str:
        return units(self.request.charge)


class Service:
    """Every method takes the tenant first and answers NotFound for what belongs to another."""

    def __init__(self, parts: Parts, changes: Changes, runner: Runner, *, strict_submit: bool, min_free: int) -> None:
        self._parts = parts
        self._store = parts.store
        self._changes = changes
        self._runner = runner
        self._positions = QueuePositions(parts.store)
        self._strict_submit = strict_submit
        self._min_free = min_free
        self._draining = False
        self.ledger = Ledger(parts)

    def endpoint(self, id: str) -> Endpoint:
        """Raises NotFound for an endpoint that is not served, told as fal tells it."""
        if found := self._parts.endpoints.get(id):
            return found
        owner, alias, path = [*id.split("/", 2), "", ""][:3]
        if any(endpoint.app == f"{owner}/{alias}" for endpoint in self._parts.endpoints.values()):
            raise NotFound(f"Path /{path} not found")
        raise NotFound(f"Application '{id}' not found")

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """The endpoints that are served, by id, in the catalogue's order."""
        return self._parts.endpoints

    def document(self, kind: Kind, endpoint_id: str, origin: str) -> str:
        """A generated document of an endpoint, its links under ``origin``. Raises NotFound."""
        return render(kind, self.endpoint(endpoint_id), self.endpoints, origin)

    def index(self, origin: str) -> str:
        """The page that lists the endpoints, its links under ``origin``."""
        return index(self.endpoints.values(), origin)

    async def submit(self, tenant: str, endpoint_id: str, body: Mapping[str, Any], origin: Origin = "queue") -> Receipt:
        """Stores a request; when this returns it is on disk.

        Input that fails the schema is stored too and is completed at once with its error, as fal does; with
        ``strict_submit`` it raises ValidationError instead. Raises NotFound, and Unavailable when nothing was stored.
        """
        endpoint = self.endpoint(endpoint_id)
        await self._check_ready()
        error = self._fault(endpoint, body)
        new = NewRequest(
            id=str(uuid.uuid4()),
            tenant=tenant,
            app=endpoint.app,
            endpoint=endpoint.id,
            origin=origin,
            input=orjson.dumps(body).decode(),
            max_attempts=self._parts.policy.max_attempts,
        )
        now = wall_clock()
        lines = [LogLine(at=now, level="ERROR", message=error.message)] if error else []
        seq = await self._store.write(transitions.submit(new, now=now, error=error, lines=lines))
        self._changes.announce(QUEUE)
        return Receipt(id=new.id, app=endpoint.app, queue_position=await self._positions.of(seq))

    async def status(self, tenant: str, app: str, id: str, *, logs: bool = False) -> View:
        request = await self._find(tenant, app, id)
        return View(
            request=request,
            queue_position=await self._positions.of(request.seq) if request.state == "queued" else None,
            logs=await self._store.read(transitions.get_logs(id)) if logs else None,
            progress=self._runner.progress(id),
        )

    async def result(self, tenant: str, app: str, id: str) -> View:
        """The request with its output, if it is done; its ``request.state`` says what else it may be.

        Raises NotFound when the output was deleted, and for one of sync_mode when it was read before.
        """
        request = await self._find(tenant, app, id)
        if request.state != "done":
            return View(request=request)
        stored = await self._store.read(transitions.get_output(id))
        if stored is None:
            raise NotFound
        output = orjson.loads(stored)
        name = output["video"]["url"].removeprefix(FILES_PATH)
        return View(request=request, output=output, inline=self._parts.blobs.path(name) if request.ephemeral else None)

    async def received(self, id: str) -> None:
        """The one reader of an inline output has it: only the row remains."""
        await forget_output(self._parts, id)

    async def wait(self, tenant: str, app: str, id: str) -> View:
        """The result, as soon as there is one."""
        while not (view := await self.result(tenant, app, id)).completed:
            await self._changes.wait(id, WAIT_SECONDS)
        return view

    async def cancel(self, tenant: str, app: str, id: str) -> None:
        """A queued request ends at once, a running one between two steps. Raises AlreadyCompleted, NotFound."""
        await self._find(tenant, app, id)
        found = await self._store.write(transitions.cancel(id, now=wall_clock()))
        if found in TERMINAL:
            raise AlreadyCompleted
        self._runner.cancel(id)
        self._changes.announce(id)

    async def file(self, name: str) -> tuple[Path, StoredFile]:
        """Path and description of a stored file. Names are unguessable, so whoever has one may read it."""
        path = self._parts.blobs.path(name)
        stored = await self._store.read(transitions.get_file(name))
        if stored is None:
            raise NotFound("File not found")
        return path, stored

    async def ready(self) -> None:
        """Raises Unavailable, with the reason, when a submit would be refused."""
        await self._check_ready()
        await self._store.read(transitions.queued(1))

    async def drain(self, seconds: float) -> None:
        """Refuses new requests, lets running ones finish for ``seconds``, gives the rest back to the queue."""
        self._draining = True
        await self._runner.drain(seconds)

    async def _find(self, tenant: str, app: str, id: str) -> Request:
        request = await self._store.read(transitions.get(id))
        if request is None or request.tenant != tenant or request.app != app:
            raise NotFound
        return request

    async def _check_ready(self) -> None:
        if self._draining:
            raise Unavailable("The server is stopping.")
        if self._parts.blobs.free_bytes() < self._min_free:
            raise Unavailable("The server is out of disk space.")

    def _fault(self, endpoint: Endpoint, body: Mapping[str, Any]) -> Error | None:
        try:
            endpoint.parse(body, self._parts.policy.bounds)
        except ValidationError as error:
            if self._strict_submit:
                raise
            return faults.stored(error)
        return None
