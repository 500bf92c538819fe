"""Deletes outputs that are not to be kept: those of sync_mode, which are for one reader only, and private ones."""

import asyncio

import structlog

from stillmotion.errors import Unavailable
from stillmotion.service.attempt import Parts
from stillmotion.service.clock import wall_clock
from stillmotion.store import transitions

log = structlog.get_logger()

BATCH = 100
"""Outputs deleted in one look at the store."""


async def forget_output(parts: Parts, id: str) -> None:
    """Leaves the request's row without its output. The row first: a crash leaves a file that the next start sweeps."""
    for name in await parts.store.write(transitions.forget_output(id)):
        await parts.blobs.delete(name)


async def forget_unread_forever(parts: Parts) -> None:
    """Deletes outputs that nobody read in time, at most a tenth of that time too late."""
    period = min(60.0, max(0.1, parts.policy.sync_mode / 10))
    while True:
        try:
            await _forget_unread(parts)
        except Unavailable:
            log.warning("unread outputs could not be deleted; tried again later")
        await asyncio.sleep(period)


async def _forget_unread(parts: Parts) -> None:
    while ids := await parts.store.read(transitions.due(now=wall_clock(), most=BATCH)):
        for id in ids:
            await forget_output(parts, id)
            log.info("unread output deleted", request=id)
