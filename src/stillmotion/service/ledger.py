"""What is offered, what it costs, what was made and what it used: the account of each tenant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from stillmotion.endpoints.documents.facts import facts_of
from stillmotion.endpoints.prices import CURRENCY, billable_units
from stillmotion.errors import BadRequest, NotFound
from stillmotion.service.attempt import Parts
from stillmotion.store import listings, transitions
from stillmotion.store.records import TERMINAL, Charge, Listing, Request, Usage

__all__ = ["CURRENCY", "Card", "Entry", "Ledger", "ListedPrice", "units"]

SHOWN_CHARS = 4096
"""Longest data URI that a listing shows; a longer one is told by its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """An endpoint as a catalogue shows it."""

    id: str
    title: str
    summary: str
    family: str
    category: str
    kind: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPrice:
    id: str
    unit: str
    unit_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An ended request in a listing."""

    key: tuple[float, int]
    """Its place in the listing."""
    request: Request
    input: Any = None
    output: Any = None
    """Both None unless they were asked for and are still there."""


def units(charge: Charge | None) -> str:
    """The billed quantity as fal's header has it; what is not priced is not billed."""
    return billable_units(charge.quantity) if charge else "0"


class Ledger:
    """Every method that reads requests takes the tenant first and sees nothing of another."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    def known(self, ids: Sequence[str]) -> tuple[str, ...]:
        """``ids``, or all endpoints when none is named. Raises NotFound for one that is not served."""
        if strangers := [id for id in ids if id not in self._parts.endpoints]:
            raise NotFound(f"Endpoint {', '.join(map(repr, strangers))} not found")
        return tuple(ids) or tuple(self._parts.endpoints)

    def cards(self) -> list[Card]:
        return [
            Card(
                id=endpoint.id,
                title=endpoint.title,
                summary=endpoint.summary,
                family=endpoint.model_family,
                category=facts_of(endpoint.id).category,
                kind=facts_of(endpoint.id).kind,
                tags=facts_of(endpoint.id).tags,
            )
            for endpoint in self._parts.endpoints.values()
        ]

    def prices(self, ids: Iterable[str]) -> list[ListedPrice]:
        """The prices of those endpoints that have one."""
        return [
            ListedPrice(id=id, unit=pricing.unit, unit_price=pricing.unit_price)
            for id in ids
            if (pricing := self._parts.endpoints[id].pricing)
        ]

    async def average_cost(self, tenant: str, id: str) -> Decimal | None:
        """What a success of the tenant cost on average so far; None before the first one."""
        found = await self._store.read(listings.charges(tenant, id))
        count = sum(count for count, _ in found)
        return sum((count * charge.cost for count, charge in found), Decimal(0)) / count if count else None

    async def usage(
        self, tenant: str, ids: Sequence[str], *, start: float, end: float, slot_seconds: float
    ) -> list[Usage]:
        """Successes that ended from ``start`` to before ``end`` (unix seconds), by slots of time."""
        return await self._store.read(listings.used(tenant, ids, start=start, end=end, slot_seconds=slot_seconds))

    async def ended(self, listing: Listing, most: int, *, payloads: bool) -> list[Entry]:
        """At most ``most`` ended requests; with ``payloads`` what went in and came out."""
        found = await self._store.read(listings.ended(listing, most))
        if not payloads:
            return [Entry(key=key, request=request) for key, request in found]
        # One by one: an input may be 70 MB of data URI, which is gone again before the next is read.
        return [await self._with_payload(key, request) for key, request in found]

    async def delete_payloads(self, tenant: str, id: str) -> list[tuple[str, str | None]]:
        """Deletes input, output and output files of a request that has ended, and what was made of them.

        Returns the name of each output file, with the reason if it could not be deleted. Files that the input names
        are not ours. Raises NotFound, and BadRequest while the request waits or runs.
        """
        state, files = await self._store.write(transitions.delete_payloads(tenant, id))
        if state is None:
            raise NotFound(f"Request {id!r} not found")
        if state not in TERMINAL:
            raise BadRequest("The request has not ended; cancel it or wait, then delete its payloads.")
        deleted = [(name, role, await self._delete(name)) for name, role in files]
        return [(name, fault) for name, role, fault in deleted if role in (None, "output")]

    async def _delete(self, name: str) -> str | None:
        try:
            await self._parts.blobs.delete(name)
        except OSError as error:
            return str(error)
        return None

    async def _with_payload(self, key: tuple[float, int], request: Request) -> Entry:
        payload = await self._store.read(listings.get_payload(request.tenant, request.id))
        if payload is None or request.private:
            return Entry(key=key, request=request)
        # What sync_mode made is for its one reader, not for the history.
        output = None if request.ephemeral else payload.output
        return Entry(
            key=key,
            request=request,
            input=_shown(orjson.loads(payload.input)),
            output=orjson.loads(output) if output else None,
        )


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shown(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, str) and len(value) > SHOWN_CHARS and value[:5].lower() == "data:":
        return f"{value[:64]}… ({len(value)} characters)"
    return value
