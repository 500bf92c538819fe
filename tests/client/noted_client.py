"""What a program uses of fal's Python client."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

used: set[str] = set()


class Noted:
    """A client, a handle or a connection, whose calls are noted. All are awaited: with ``blocking`` each runs in a
    thread of its own, and iterators and contexts are asynchronous ones all the same."""

    def __init__(self, it: Any, *, blocking: bool) -> None:
        self.it = it
        self.blocking = blocking

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.it, name)
        if not callable(member):
            return member

        def call(*given: Any, **named: Any) -> Any:
            used.add(f"{type(self.it).__name__}.{name}")
            if inspect.isasyncgenfunction(member):
                return member(*given, **named)
            if inspect.isgeneratorfunction(member):
                return _from_threads(member(*given, **named))
            found = asyncio.to_thread(member, *given, **named) if self.blocking else member(*given, **named)
            return self._opened(found) if name in ("realtime", "ws_connect") else self._noted(found)

        return call

    async def _noted(self, found: Any) -> Any:
        value = await found if inspect.isawaitable(found) else found
        is_handle = type(value).__name__.endswith("RequestHandle")
        return Noted(value, blocking=self.blocking) if is_handle else value

    @asynccontextmanager
    async def _opened(self, found: Any) -> AsyncIterator["Noted"]:
        if not self.blocking:
            async with found as connection:
                yield Noted(connection, blocking=False)
            return
        manager = await found
        connection = await asyncio.to_thread(manager.__enter__)
        try:
            yield Noted(connection, blocking=True)
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


async def _from_threads(blocking: Any) -> AsyncIterator[Any]:
    end = object()
    try:
        while (item := await asyncio.to_thread(next, blocking, end)) is not end:
            yield item
    finally:
        await asyncio.to_thread(blocking.close)
