"""Deletes files and uploads whose time is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from stillmotion.errors import Unavailable
from stillmotion.files.blobs import LocalBlobs
from stillmotion.files.uploads import UploadParts
from stillmotion.service.clock import wall_clock
from stillmotion.store import uploads as rows
from stillmotion.store.driver import Store

log = structlog.get_logger()

PERIOD = 2.0
"""Seconds between two looks: one read of two indexes, 0.1 ms."""
GRACE = 2.0
"""Seconds that a file outlives its time, in which nobody new gets it: who has just been given its path may open it."""
BATCH = 100


@asynccontextmanager
async def expiring(store: Store, blobs: LocalBlobs, parts: UploadParts) -> AsyncIterator[None]:
    """Clears what an earlier process left, then deletes what is over for as long as the block lasts."""
    for path in await parts.keep_only(await store.read(rows.unfinished())):
        log.info("orphaned part deleted", part=path)
    await _expire(store, blobs, parts, grace=0.0)
    task = asyncio.create_task(_expire_forever(store, blobs, parts))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _expire_forever(store: Store, blobs: LocalBlobs, parts: UploadParts) -> None:
    while True:
        await asyncio.sleep(PERIOD)
        try:
            await _expire(store, blobs, parts, grace=GRACE)
        except (Unavailable, OSError):
            log.warning("expired files could not be deleted; tried again later", exc_info=True)


async def _expire(store: Store, blobs: LocalBlobs, parts: UploadParts, *, grace: float) -> None:
    # The row first, always: a crash leaves a file that the next start sweeps.
    while names := await store.read(rows.expired_files(now=wall_clock() - grace, most=BATCH)):
        for name in names:
            await store.write(rows.delete_file(name))
            await blobs.delete(name)
            log.info("expired file deleted", file=name)
    while uploads := await store.read(rows.due(now=wall_clock() - grace, most=BATCH)):
        for upload in uploads:
            await store.write(rows.drop(upload.id))
            await parts.drop(upload.id)
            if upload.state != "complete":
                await blobs.delete(upload.file)
                log.info("unfinished upload deleted", file=upload.file)
