"""Copies that browsers play of results that they do not: made when somebody asks, kept beside the result.

One at a time, by a process of low priority: it takes both cores of a small machine, and requests come first. Who asks
for one that is being made waits for the same.
"""

import asyncio
import contextlib
import secrets

import structlog

from stillmotion.errors import NotFound, Unavailable
from stillmotion.files.blobs import LocalBlobs
from stillmotion.media.playable import CONTENT_TYPE, PLAYED, write_playable
from stillmotion.service.clock import wall_clock
from stillmotion.store import history, transitions
from stillmotion.store.driver import Store
from stillmotion.store.records import StoredFile

log = structlog.get_logger()

MAX_WAITING = 16
"""Copies that are asked for and not made."""


class Playables:
    """``min_free``: bytes of the disk that no copy may take."""

    def __init__(self, store: Store, blobs: LocalBlobs, *, min_free: int) -> None:
        self._store, self._blobs, self._min_free = store, blobs, min_free
        self._making: dict[str, asyncio.Task[StoredFile]] = {}
        self._turn = asyncio.Semaphore(1)

    async def of(self, tenant: str, id: str) -> StoredFile:
        """What a browser plays of a request's result. Raises NotFound, Unavailable."""
        output = await self._store.read(history.output_file(tenant, id))
        if output is None:
            raise NotFound(f"There is no video of request {id!r}")
        stored: StoredFile | None
        if output[1] in PLAYED:
            stored = await self._store.read(transitions.get_file(output[0]))
        else:
            stored = await self._store.read(history.copy_file(id, "playable")) or await self._made(
                tenant, id, output[0]
            )
        if stored is None:
            raise NotFound(f"There is no video of request {id!r}")
        return stored

    async def close(self) -> None:
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _made(self, tenant: str, id: str, original: str) -> StoredFile:
        if id not in self._making:
            if len(self._making) >= MAX_WAITING:
                raise Unavailable("Too many videos are being converted right now.")
            self._making[id] = asyncio.create_task(self._make(tenant, id, original))
            self._making[id].add_done_callback(lambda task: self._end(id, task))
        # Shielded: who leaves does not end it for the others, nor for their own next visit.
        return await asyncio.shield(self._making[id])

    def _end(self, id: str, task: asyncio.Task[StoredFile]) -> None:
        del self._making[id]
        if not task.cancelled():
            task.exception()  # perhaps nobody waits for it any more

    async def _make(self, tenant: str, id: str, original: str) -> StoredFile:
        async with self._turn:
            if self._blobs.free_bytes() < self._min_free:
                raise Unavailable("The server is out of disk space.")
            work = f"playable-{secrets.token_hex(8)}"
            target = self._blobs.work(work) / "playable.mp4"
            try:
                await write_playable(self._blobs.path(original), target)
                return await self._keep(tenant, id, target.stat().st_size, await self._blobs.adopt(target, "mp4"))
            except (OSError, TimeoutError) as error:
                log.warning("a playable copy could not be made", request=id, error=str(error))
                raise Unavailable("The video could not be converted.") from error
            finally:
                await self._blobs.drop_work(work)

    async def _keep(self, tenant: str, id: str, size: int, name: str) -> StoredFile:
        """Names the copy, unless its original was deleted meanwhile."""
        file = StoredFile(name=name, content_type=CONTENT_TYPE, size=size, role="playable")
        stored = None
        try:
            stored = await self._store.write(history.add_copy(tenant, id, file, now=wall_clock()))
        finally:
            if stored is None:
                # A commit that was answered by an error may have happened; the sweep at the next start looks again.
                with contextlib.suppress(Unavailable):
                    if await self._store.read(transitions.get_file(name)) is None:
                        await self._blobs.delete(name)
        if stored is None:
            raise NotFound(f"There is no video of request {id!r}")
        return stored
