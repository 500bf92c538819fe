"""The application's lifespan, run once for all listeners.

Not uvicorn's: that one logs what the application raised at start-up and forgets it, and the sentence of a
ConfigurationError is what the user needs to see.
"""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message


class Lifespan:
    """Starts and stops one ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: str | None = None
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Returns when the application is ready; raises what it raised."""
        self._task = asyncio.create_task(self._run(), name="lifespan")
        self._inbox.put_nowait({"type": "lifespan.startup"})
        await self._started.wait()
        await self._raise_failure()

    async def stop(self) -> None:
        """Returns when the application has shut down; raises what it raised. Does nothing when it is not up."""
        if self._task is None or not self._started.is_set():
            return
        self._inbox.put_nowait({"type": "lifespan.shutdown"})
        await self._stopped.wait()
        await self._raise_failure()

    async def abandon(self, seconds: float) -> None:
        """Cancels an application that did not come up or down in time."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=seconds)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._inbox.get, self._receive)
        finally:
            self._started.set()
            self._stopped.set()

    async def _receive(self, message: Message) -> None:
        match message["type"]:
            case "lifespan.startup.complete":
                self._started.set()
            case "lifespan.shutdown.complete":
                self._stopped.set()
            case "lifespan.startup.failed" | "lifespan.shutdown.failed":
                # The exception itself follows: Starlette reports, then raises.
                self._failure = message.get("message") or message["type"]

    async def _raise_failure(self) -> None:
        task = self._task
        if task is not None and (task.done() or self._failure is not None):
            self._task = None
            await task
        if self._failure is not None:
            raise RuntimeError(self._failure)
