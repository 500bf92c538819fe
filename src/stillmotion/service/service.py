"""The verbs of the platform: submit, status, result, cancel. Knows requests and tenants, not HTTP."""

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from stillmotion.endpoints.documents.page import index
from stillmotion.endpoints.documents.render import Kind, render
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.errors import AlreadyCompleted, NotFound, Unavailable, ValidationError
from stillmotion.service import faults
from stillmotion.service.about import About
from stillmotion.service.access import ABSENT, FileAccess
from stillmotion.service.access_tokens import AccessTokens
from stillmotion.service.acl import Acl
from stillmotion.service.attempt import FILES_PATH, Parts
from stillmotion.service.card_samples import TENANT as SAMPLES
from stillmotion.service.card_samples import CardSamples
from stillmotion.service.changes import Changes, progress_of
from stillmotion.service.clock import wall_clock
from stillmotion.service.embedded import EmbeddedSettings
from stillmotion.service.engines import Engine
from stillmotion.service.fingerprint import fingerprint
from stillmotion.service.forecast import Forecast, forecast
from stillmotion.service.forgetting import forget_output
from stillmotion.service.history import History
from stillmotion.service.keys import LOCAL_TENANT, Keys
from stillmotion.service.ledger import Ledger
from stillmotion.service.operations import Operations
from stillmotion.service.photographs import Photographs
from stillmotion.service.playables import Playables
from stillmotion.service.pulls import ModelShelf
from stillmotion.service.queue_positions import QueuePositions
from stillmotion.service.repeats import Repeats, Reply
from stillmotion.service.runner import MOVED, MOVED_SECONDS, QUEUE, Runner
from stillmotion.service.serving import Served, served
from stillmotion.service.start_deadlines import START_BY
from stillmotion.service.view import Follower, View
from stillmotion.service.webhook_delivery import OUTBOX
from stillmotion.service.webhooks import Webhooks
from stillmotion.service.weights import weights_key
from stillmotion.store import duplicates, transitions
from stillmotion.store.records import (
    TERMINAL,
    Error,
    LogLine,
    NewRequest,
    Options,
    Origin,
    OwnedFile,
    Request,
    Webhook,
)

WAIT_SECONDS = 1.0
"""A waiter looks at the store this often on its own; changes of this process wake it at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a submit answers: the request is on disk under ``id``."""

    id: str
    app: str
    queue_position: int
    repeated: bool
    """An earlier submit stored it."""
    lasting: bool
    """It goes on when the connection that asked for it ends."""


class Service:
    """Every method takes the tenant first and answers NotFound for what belongs to another."""

    def __init__(
        self,
        parts: Parts,
        changes: Changes,
        runner: Runner,
        webhooks: Webhooks,
        keys: Keys,
        access: FileAccess,
        tokens: AccessTokens,
        repeats: Repeats,
        *,
        strict_submit: bool,
        min_free: int,
        about: About,
    ) -> None:
        self._parts = parts
        self._store = parts.store
        self._changes = changes
        self._runner = runner
        self._positions = QueuePositions(parts.store)
        self._strict_submit = strict_submit
        self._min_free = min_free
        self._draining = False
        self.ledger = Ledger(parts)
        self.webhooks = webhooks
        self.keys = keys
        self.about = about
        self._playables = Playables(parts.store, parts.blobs, min_free=min_free)
        self.history = History(parts, self._playables)
        self.photographs = Photographs()
        self.samples = CardSamples(
            lambda: self, parts, changes, about, lambda: runner.engines, self.ledger.delete_payloads
        )
        self.embedded = EmbeddedSettings(parts.blobs, parts.endpoints)
        self.operations = Operations(parts, runner, (LOCAL_TENANT, SAMPLES))
        self.shelf = ModelShelf(about)
        self.repeats = repeats
        self.access = access
        self.tokens = tokens

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

    async def submit(
        self,
        tenant: str,
        endpoint_id: str,
        body: Mapping[str, Any],
        origin: Origin = "queue",
        *,
        options: Options | None = None,
        webhook: Webhook | None = None,
        max_queue: int | None = None,
        key: str | None = None,
        reply: Reply | None = None,
    ) -> Receipt:
        """Stores a request; when this returns it is on disk. ``webhook``, from ``webhooks.to``, is told of its end.

        With the ``key`` of an earlier submit of the tenant's it is about that one's request, and with a ``reply``, from
        ``repeats.expect``, about that of an equal one whose reply was lost. The caller ends the reply.

        Input that fails the schema is stored too and is completed at once with its error, as fal does; with
        ``strict_submit`` it raises ValidationError instead. Raises NotFound, and Unavailable, QueueFull and
        IdempotencyKeyReused when nothing was stored.
        """
        endpoint = self.endpoint(endpoint_id)
        await self._check_ready()
        error, weights = self._examine(endpoint, body)
        options = options or Options()
        if options.acl is not None:
            options = replace(options, acl=await self.access.kept(Acl.stored(options.acl)))
        new = NewRequest(
            id=str(uuid.uuid4()),
            tenant=tenant,
            app=endpoint.app,
            endpoint=endpoint.id,
            origin=origin,
            input=orjson.dumps(body).decode(),
            prompt=prompt if isinstance(prompt := body.get("prompt"), str) else None,
            max_attempts=self._parts.policy.max_attempts if options.retry else 1,
            weights=weights,
            options=options,
            webhook=webhook,
        )
        digest = await _digest(new, body, key, reply)
        now = wall_clock()
        lines = [LogLine(at=now, level="ERROR", message=error.message)] if error else []
        identity = self.repeats.identity(digest, new.id, key=key, reply=reply)
        stored = await self._store.write(
            duplicates.submit(new, identity, now=now, error=error, lines=lines, max_queue=max_queue)
        )
        if reply is not None:
            reply.id = stored.id
        if not stored.repeated:
            self._changes.announce(OUTBOX if error else QUEUE)
            if options.start_within is not None:
                self._changes.announce(START_BY)
        position = await self._positions.of(stored.priority, stored.seq) if stored.state == "queued" else 0
        return Receipt(
            id=stored.id, app=endpoint.app, queue_position=position, repeated=stored.repeated, lasting=origin == "queue"
        )

    async def status(self, tenant: str, app: str, id: str, *, logs: bool = False) -> View:
        request = await self._find(tenant, app, id)
        return View(
            request=request,
            queue_position=await self._position(request),
            logs=await self._store.read(transitions.get_logs(id)) if logs else None,
            progress=self._runner.progress(id),
        )

    async def preview(self, tenant: str, app: str, id: str) -> bytes:
        """The newest picture, a JPEG, of what is becoming of a running request. Raises NotFound where there is none."""
        await self._find(tenant, app, id)
        picture = self._runner.preview(id)
        if picture is None:
            raise NotFound
        return picture

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
        if not request.ephemeral:
            return View(request=request, output=output)
        name = output["video"]["url"].removeprefix(FILES_PATH)
        return View(request=request, output=output, inline=self._parts.blobs.path(name))

    async def received(self, id: str) -> None:
        """The one reader of an inline output has it: only the row remains."""
        await forget_output(self._parts, id)

    async def wait(self, tenant: str, app: str, id: str) -> View:
        """The result, as soon as there is one."""
        with self._changes.watch(id) as watch:
            while not (view := await self.result(tenant, app, id)).completed:
                await watch.next(WAIT_SECONDS)
        return view

    @asynccontextmanager
    async def follow(
        self, tenant: str, app: str, id: str, *, logs: bool, progress: bool = False
    ) -> "AsyncIterator[Follower]":
        """The request as it changes, for as long as the block lasts; with ``progress`` every step is a change, and
        the newest preview picture is told too.

        Raises NotFound.
        """
        with self._changes.watch(id, MOVED, *([progress_of(id)] if progress else [])) as watch:
            request = await self._find(tenant, app, id)
            yield Follower(request, watch, self._store, self._position, self._runner if progress else None, logs=logs)

    async def cancel(self, tenant: str, app: str, id: str) -> None:
        """A queued request ends at once, a running one between two steps. Raises AlreadyCompleted, NotFound."""
        await self._find(tenant, app, id)
        found = await self._store.write(transitions.cancel(id, now=wall_clock()))
        if found in TERMINAL:
            raise AlreadyCompleted
        self._runner.cancel(id)
        self._changes.announce(id)
        self._changes.announce_soon(MOVED, MOVED_SECONDS)
        self._changes.announce(OUTBOX)

    async def cancel_anyones(self, id: str) -> None:
        """As ``cancel``, whoever asked for it: for an administrator."""
        request = await self._store.read(transitions.get(id))
        if request is None:
            raise NotFound(f"Request {id!r} not found")
        await self.cancel(request.tenant, request.app, id)

    async def file(self, name: str) -> tuple[Path, OwnedFile]:
        """Path and description of a stored file; who may read it is for ``access`` to say."""
        stored = await self._store.read(transitions.get_file(name))
        if stored is None:
            raise NotFound(ABSENT)
        return self._parts.blobs.path(name), stored

    async def ready(self) -> None:
        """Raises Unavailable, with the reason, when a submit would be refused."""
        await self._check_ready()
        await self._store.read(transitions.queued(1))

    @property
    def engines(self) -> Iterable[Engine]:
        return self._runner.engines

    async def drain_engine(self, name: str) -> Engine:
        """The engine ends what it works at, takes no more and frees its device. Raises NotFound."""
        return await self._runner.withdraw(name)

    async def resume_engine(self, name: str) -> Engine:
        """The engine takes requests again. Raises NotFound."""
        return self._runner.readmit(name)

    def served(self) -> list[Served]:
        """What every endpoint is made with right now."""
        return served(self.endpoints, self._parts.models, self.engines, self.about)

    async def forecast(self, endpoint_id: str, body: Mapping[str, Any], size: tuple[int, int] | None) -> Forecast:
        """What an input would give; ``size`` is that of its upright picture, if it is known. Raises NotFound."""
        endpoint = self.endpoint(endpoint_id)
        model, bounds = self._parts.models.of(endpoint.id), self._parts.preparation.bounds
        return await forecast(endpoint, body, size, model, bounds, self._store)

    async def close(self) -> None:
        """Ends what runs beside the requests."""
        for each in (self.samples, self._playables, self.shelf):
            await each.close()

    async def drain(self, seconds: float) -> None:
        """Refuses new requests, lets running ones finish for ``seconds``, gives the rest back to the queue."""
        self._draining = True
        await self._runner.drain(seconds)

    async def _position(self, request: Request) -> int | None:
        return await self._positions.of(request.priority, request.seq) if request.state == "queued" else None

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

    def _examine(self, endpoint: Endpoint, body: Mapping[str, Any]) -> tuple[Error | None, str]:
        """What is wrong with a request, and the digest of the weights that it needs."""
        try:
            request = endpoint.parse(body, self._parts.preparation.bounds)
        except ValidationError as error:
            if self._strict_submit:
                raise
            return faults.stored(error), ""
        return None, weights_key(request)


async def _digest(new: NewRequest, body: Mapping[str, Any], key: str | None, reply: Reply | None) -> str:
    """Of what makes a submit a repetition: under a key its input and who is told of its end, without one everything."""
    asked = (new.endpoint, body, new.webhook and new.webhook.url)
    if key is not None:
        return await fingerprint(*asked)
    return await fingerprint(*asked, new.tenant, new.options) if reply is not None else ""
