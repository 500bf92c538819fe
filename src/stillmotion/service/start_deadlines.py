"""Ends waiting requests that did not start in the time that their callers gave them, however busy the engines are."""

import structlog

from stillmotion.errors import Unavailable
from stillmotion.service.changes import Changes
from stillmotion.service.clock import wall_clock
from stillmotion.service.webhook_delivery import OUTBOX
from stillmotion.store import transitions, waiting
from stillmotion.store.driver import Store

log = structlog.get_logger()

START_BY = "start deadline"
"""Announced in ``Changes`` when a request was queued that must start by some time."""
LOOK_SECONDS = 1.0
"""The next deadline is looked up this often without being told of one: for requests that went back to the queue."""


async def end_late_forever(store: Store, changes: Changes) -> None:
    with changes.watch(START_BY) as watch:
        while True:
            pause = LOOK_SECONDS
            try:
                if (start_by := await store.read(waiting.next_start_by())) is not None:
                    pause = min(LOOK_SECONDS, start_by - wall_clock())
                    if pause <= 0:
                        await _end_late(store, changes)
                        continue
            except Unavailable:
                log.warning("requests that are late could not be ended; tried again later")
            await watch.next(pause)


async def _end_late(store: Store, changes: Changes) -> None:
    for id in await store.write(transitions.end_late(now=wall_clock())):
        log.info("request did not start in time", request=id)
        changes.announce(id)
    changes.announce(OUTBOX)
