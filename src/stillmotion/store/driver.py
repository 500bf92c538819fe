"""What a database driver offers the rest of the system: transactions of the state machine, run to the end."""

from typing import Protocol, TypeVar

from stillmotion.store.transitions import Transaction

Result = TypeVar("Result")


class Store(Protocol):
    """A durable home of requests. Methods raise Unavailable when the database cannot take the work."""

    async def write(self, transaction: Transaction[Result]) -> Result:
        """Runs ``transaction``, after those that were asked for before; when this returns, what it wrote survives a
        crash of this machine."""
        ...

    def note(self, transaction: Transaction[None]) -> None:
        """Runs ``transaction`` within a few milliseconds, before whatever is asked for later; it may overtake what was
        asked for earlier. Tells nobody what came of it: for what may be lost when this machine crashes or the database
        cannot be written. Once it has run it survives a crash of this process. Called in the event loop."""
        ...

    async def read(self, transaction: Transaction[Result]) -> Result:
        """Runs a transaction that only reads, without waiting for writers."""
        ...

    def tick(self) -> float:
        """Seconds on the clock by which leases expire; all users of one database share it, and it never jumps."""
        ...

    async def recovery_deadline(self) -> float:
        """Leases that expire before this instant of ``tick`` belong to runners that are gone."""
        ...

    async def close(self) -> None: ...
