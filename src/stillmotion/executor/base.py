"""The seam between the platform and the engines: one narrow protocol, spoken in the values of job.py."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from stillmotion.job import Event, Model, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an executor can take on: how many works at once, and which models."""

    slots: int
    models: tuple[Model, ...]


class Executor(Protocol):
    """A home of engines.

    ``run`` yields any number of ``Log`` and ``Progress``, then exactly one of ``Done``, ``Failed`` or ``Cancelled``,
    and raises nothing for a work that fails. A caller never runs more than ``Capabilities.slots`` works at once; one
    that stops listening (closes the iterator) has cancelled the work.
    """

    async def capabilities(self) -> Capabilities:
        """Slots and models; raises ConfigurationError or BundleError when no engine can be had."""
        ...

    def run(self, work: Work) -> AsyncIterator[Event]: ...

    async def cancel(self, work_id: str) -> None:
        """Asks a running work to end; its iterator then ends in ``Cancelled`` (or in what came first).

        Unknown ids are ignored.
        """
        ...

    async def unload(self) -> None:
        """Frees what an idle engine holds, memory of its device above all; the next ``run`` starts it again."""
        ...

    async def close(self) -> None:
        """Ends every engine and frees what it holds. Runs that are under way end in ``Failed(fatal=True)``."""
        ...
