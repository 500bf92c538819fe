"""Takes webhooks from the outbox to their receivers, each at least once, for as long as the schedule lasts."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog

from stillmotion.errors import NotFound, Unavailable
from stillmotion.service.attempt import FILES_PATH, Parts
from stillmotion.service.changes import Changes
from stillmotion.service.clock import wall_clock
from stillmotion.service.webhook_schedule import Schedule, verdict
from stillmotion.service.webhook_sender import Answer, WebhookSender
from stillmotion.service.webhook_signing import SigningKeys, signature_headers
from stillmotion.store import outbox, transitions
from stillmotion.store.records import TERMINAL, Delivered, Delivery, Request

log = structlog.get_logger()

OUTBOX = "outbox"
"""Announced in ``Changes`` when a webhook may be due, or a delivery has ended."""
POLL_SECONDS = 1.0
"""The outbox is looked at this often for what nobody announced."""
IN_ALL, PER_HOST = 64, 4
"""Deliveries at a time. A receiver that takes 15 s for each holds up its own webhooks and nobody else's."""
STORE_SECONDS = 30.0
"""Beyond the receiver's own time, for the end of a delivery to reach the disk before its lease runs out."""
CLOSE_SECONDS = 5.0
"""For deliveries under way when the server stops; what is cut off is delivered again after the next start."""

INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A request that has ended, as its webhook tells it."""

    request: Request
    output: dict[str, Any] | None
    """Of a success; None when it was deleted."""
    origin: str
    """Before the paths of files."""
    inline: Path | None
    """The output's file, when it is to stand inside the output."""


Render = Callable[[Ended], bytes]
"""The body that a receiver is sent; may read ``inline``, so it runs in a thread."""


class Deliverer:
    """The task that empties the outbox, and the deliveries that it has under way."""

    def __init__(
        self,
        parts: Parts,
        changes: Changes,
        sender: WebhookSender,
        keys: SigningKeys,
        *,
        schedule: Schedule,
        render: Render,
    ) -> None:
        self._parts, self._store, self._changes = parts, parts.store, changes
        self._sender, self._keys, self._schedule, self._render = sender, keys, schedule, render
        self._task: asyncio.Task[None] | None = None
        self._deliveries: dict[asyncio.Task[None], str] = {}
        """Hosts by what is under way."""

    def start(self) -> None:
        """What an earlier process had under way must be recovered first."""
        self._task = asyncio.create_task(self._deliver_forever())

    async def close(self) -> None:
        """Begins no more, and gives what is under way ``CLOSE_SECONDS``."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=CLOSE_SECONDS)
        remaining = list(self._deliveries)
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)

    async def _deliver_forever(self) -> None:
        with self._changes.watch(OUTBOX) as watch:
            while True:
                wait = POLL_SECONDS
                try:
                    wait = await self._begin()
                except Unavailable:
                    log.warning("the outbox cannot be emptied; tried again")
                except Exception:
                    log.exception("the outbox cannot be emptied; tried again")
                if wait:
                    await watch.next(wait)

    async def _begin(self) -> float:
        """Begins what is due and has a place. Returns the seconds after which to look again."""
        due = await self._store.read(outbox.next_due())
        if due is None or (early := due - wall_clock()) > 0:
            return POLL_SECONDS if due is None else min(early, POLL_SECONDS)
        claimed = await self._claim()
        for delivery in claimed:
            task = asyncio.create_task(self._deliver(delivery))
            self._deliveries[task] = delivery.host
            task.add_done_callback(self._forget)
        # What is due and was not taken waits for a place; the end of a delivery is announced.
        return 0.0 if claimed else POLL_SECONDS

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._deliveries[task]
        self._changes.announce(OUTBOX)

    async def _claim(self) -> list[Delivery]:
        room = IN_ALL - len(self._deliveries)
        if not room:
            return []
        longest = max(self._schedule.first_timeout, self._schedule.later_timeout)
        expires = self._store.tick() + longest + STORE_SECONDS
        busy = Counter(self._deliveries.values())
        return await self._store.write(
            outbox.claim(now=wall_clock(), expires=expires, most=room, per_host=PER_HOST, busy=busy)
        )

    async def _deliver(self, delivery: Delivery) -> None:
        began, ticks = wall_clock(), time.monotonic()
        try:
            answer = await self._send(delivery)
        except Exception:
            # Whatever it was, the schedule goes on: a fault of ours must not cost the receiver its event.
            log.exception("webhook delivery broke", request=delivery.request_id)
            answer = Answer(error=INTERNAL_ERROR)
        await self._end(delivery, answer, began, time.monotonic() - ticks)

    async def _send(self, delivery: Delivery) -> Answer:
        body = await asyncio.to_thread(self._render, await self._ended(delivery))
        headers = signature_headers(self._keys, delivery.request_id, delivery.tenant, body)
        timeout = self._schedule.timeout(delivery.failures)
        return await self._sender.post(delivery.url, headers, body, timeout=timeout)

    async def _ended(self, delivery: Delivery) -> Ended:
        request = await self._store.read(transitions.get(delivery.request_id))
        assert request is not None  # its row holds the delivery's
        assert request.state in TERMINAL
        stored = await self._store.read(transitions.get_output(request.id)) if request.state == "done" else None
        output = orjson.loads(stored) if stored is not None else None
        inline = None
        if output and request.ephemeral:
            with suppress(NotFound):
                inline = self._parts.blobs.path(output["video"]["url"].removeprefix(FILES_PATH))
        return Ended(request=request, output=output, origin=delivery.origin, inline=inline)

    async def _end(self, delivery: Delivery, answer: Answer, began: float, seconds: float) -> None:
        state, wait = self._follows(delivery, answer)
        told = Delivered(
            attempt=delivery.attempt,
            at=began,
            seconds=round(seconds, 3),
            status=answer.status,
            error=answer.error,
            next_at=None if wait is None else wall_clock() + wait,
        )
        # Of the URL only the host: the rest may hold the receiver's secrets.
        about = {"request": delivery.request_id, "host": delivery.host, "attempt": delivery.attempt}
        log.info("webhook delivery", **about, status=answer.status, error=answer.error, state=state)
        give_up = self._store.tick() + STORE_SECONDS
        while self._store.tick() < give_up:
            with suppress(Unavailable):
                await self._store.write(outbox.end(delivery, told, state=state))
                return
            await asyncio.sleep(0.5)
        log.error("the end of a delivery could not be stored; it is delivered again", **about)

    def _follows(
        self, delivery: Delivery, answer: Answer
    ) -> tuple[Literal["pending", "delivered", "failed"], float | None]:
        """The webhook's state after ``answer``, and the wait before the next delivery."""
        match verdict(answer.status):
            case "delivered":
                return "delivered", None
            case "refused":
                return "failed", None
            case "again":
                wait = self._schedule.wait(delivery.failures + 1, random.random())
                return ("failed" if wait is None else "pending"), wait
