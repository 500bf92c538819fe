"""What a tenant asked for, the newest first: pages of it, one request in full, marks, and pictures of results."""

from dataclasses import dataclass, replace

from stillmotion.errors import NotFound
from stillmotion.service.attempt import Parts
from stillmotion.service.clock import wall_clock
from stillmotion.service.playables import Playables
from stillmotion.store import history
from stillmotion.store.history import Item, Page, Question
from stillmotion.store.history_statements import MAX_WORDS
from stillmotion.store.records import StoredFile

__all__ = ["MAX_WORDS", "History", "Item", "Page", "Question", "Whole"]

LOOKS = 25
"""Reads for one page at most: 50,000 requests in steps that let other readers in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A request with what went in and came out, as JSON text; None where it is not to be shown, or not there."""

    item: Item
    input: str | None
    output: str | None


class History:
    """Every method takes the tenant first and answers NotFound for what belongs to another."""

    def __init__(self, parts: Parts, playables: Playables) -> None:
        self._store, self._playables = parts.store, playables

    async def page(self, question: Question, most: int) -> Page:
        """At most ``most`` requests. It may have fewer and still not be the last one: where few fit, the search goes
        on from ``behind``."""
        found: list[Item] = []
        for _ in range(LOOKS):
            page = await self._store.read(history.page(question, most - len(found), now=wall_clock()))
            found += page.items
            if page.behind is None or len(found) == most:
                break
            question = replace(question, after=page.behind)
        return Page(items=found, behind=page.behind)

    async def one(self, tenant: str, id: str) -> Whole:
        """Raises NotFound, also where input and output were deleted."""
        item = await self.item(tenant, id)
        payload = None if item.request.private else await self._store.read(history.payload(tenant, id))
        input, output = payload or (None, None)
        # What sync_mode made is for its one reader.
        return Whole(item=item, input=input, output=None if item.request.ephemeral else output)

    async def pin(self, tenant: str, id: str) -> None:
        await self._mark(tenant, id, wall_clock())

    async def unpin(self, tenant: str, id: str) -> None:
        await self._mark(tenant, id, None)

    async def poster(self, tenant: str, id: str) -> StoredFile:
        """The small picture of what a request made."""
        item = await self.item(tenant, id)
        stored = await self._store.read(history.copy_file(id, "poster")) if item.poster else None
        if stored is None:
            raise NotFound(f"There is no picture of request {id!r}")
        return stored

    async def playable(self, tenant: str, id: str) -> StoredFile:
        """What a browser plays: what the request made, or a copy of it, which is made now if need be.

        Raises NotFound, Unavailable.
        """
        item = await self.item(tenant, id)
        if item.output is None or item.request.ephemeral or item.request.private:
            raise NotFound(f"There is no video of request {id!r}")
        return await self._playables.of(tenant, id)

    async def item(self, tenant: str, id: str) -> Item:
        """Raises NotFound, also where input and output were deleted."""
        item = await self._store.read(history.get(tenant, id, now=wall_clock()))
        if item is None:
            raise NotFound(f"Request {id!r} not found")
        return item

    async def _mark(self, tenant: str, id: str, now: float | None) -> None:
        if not await self._store.write(history.pin(tenant, id, now=now)):
            raise NotFound(f"Request {id!r} not found")
