"""One ASGI application on several listeners, in one process and one event loop, from start to a clean stop.

uvicorn parses HTTP and runs the application; starting, signals and stopping are done here, because its server serves
one listener, exits with -15 on SIGTERM and waits for open streams and idle TLS clients.
"""

import asyncio
import functools
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from email.utils import formatdate
from typing import Any, TypeVar

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from stillmotion.edge import sockets
from stillmotion.edge.lifespan import Lifespan
from stillmotion.edge.limits import EdgeLimits
from stillmotion.edge.protocol import GuardedProtocol
from stillmotion.edge.signals import Stop, stop_signals
from stillmotion.edge.sockets import Address, Listener
from stillmotion.edge.websocket import GuardedWebSocket
from stillmotion.tls import LocalTls

T = TypeVar("T")

CANCEL_SECONDS = 0.3  # for work that is given up to notice it


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a program on uvloop where that is installed (not on Windows and PyPy), else on asyncio's loop."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


async def serve(
    app: ASGIApp,
    listeners: Sequence[Listener],
    *,
    on_ready: Callable[[Sequence[Address]], None],
    drain: Callable[[], Awaitable[None]],
    limits: EdgeLimits | None = None,
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Serves ``app`` until SIGTERM or SIGINT, and returns when everything is closed.

    ``on_ready`` gets the real addresses, in the order of ``listeners``. At the first signal ``drain`` is awaited while
    requests are still answered; then connections are closed: responses under way have ``limits.stop_seconds`` to end,
    then see a client that left, then are cancelled. A second signal does not wait for ``drain``. Cancelling does
    neither wait nor drain. ``trusted_proxies`` are the addresses whose ``X-Forwarded-*`` headers are believed.

    Raises ConfigurationError when a listener cannot be had, and what the application's lifespan raises.
    """
    limits = limits or EdgeLimits()
    async with AsyncExitStack() as stack:
        bound = []
        for listener in listeners:
            bound.append(sockets.bind(listener))
            stack.callback(sockets.close, bound[-1])
        stop = stack.enter_context(stop_signals())
        lifespan = Lifespan(app)
        stack.push_async_callback(_stop_lifespan, lifespan, stop, limits)
        if not await _unless(stop.requested, lifespan.start()):
            return
        server = _Server(app, lifespan.state, limits, trusted_proxies)
        stack.push_async_callback(server.close, stop)
        on_ready([await server.open(listener, own) for listener, own in zip(listeners, bound, strict=True)])
        await stop.requested.wait()
        await _drain(drain, stop)


class _Server:
    """What is open: listeners, connections and the tasks that keep the date and the certificates fresh."""

    def __init__(self, app: ASGIApp, state: dict[str, Any], limits: EdgeLimits, trusted_proxies: Sequence[str]) -> None:
        self._limits = limits
        self._stopping = False
        self._app = app
        self._app_state = state
        self._config = Config(
            self._run_app,
            http="httptools",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            log_level="error",  # its warnings are one line for every bad request that anyone sends
            access_log=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            timeout_keep_alive=limits.idle_seconds,
            ws=functools.partial(GuardedWebSocket, limits),  # type: ignore[arg-type]  # it is called, whatever it is
            ws_max_size=limits.websocket_message_bytes,
        )
        self._config.load()
        self._state = ServerState()
        self._date()
        self._servers: list[asyncio.AbstractServer] = []
        self._upkeep: list[asyncio.Task[None]] = [asyncio.create_task(self._keep_date())]

    async def open(self, listener: Listener, own: list[Any]) -> Address:
        """Starts to listen on sockets that are bound."""
        options: dict[str, Any] = {}
        if listener.tls is not None:
            context = listener.tls.server_context()
            options = {
                "ssl": context,
                "ssl_handshake_timeout": self._limits.tls_handshake_seconds,
                "ssl_shutdown_timeout": self._limits.tls_shutdown_seconds,
            }
            self._upkeep.append(asyncio.create_task(self._keep_certificate(listener.tls, context)))
        make = functools.partial(
            GuardedProtocol, self._limits, config=self._config, server_state=self._state, app_state=self._app_state
        )
        loop = asyncio.get_running_loop()
        for each in own:
            try:
                self._servers.append(await loop.create_server(make, sock=each, backlog=self._limits.backlog, **options))
            except OSError as error:
                raise sockets.refusal(listener, error) from error
        return Address(listener.host, own[0].getsockname()[1], listener.tls is not None)

    async def close(self, stop: Stop) -> None:
        """Closes everything, in at most four times ``stop_seconds``; at once after a second signal."""
        self._stopping = True
        for task in self._upkeep:
            task.cancel()
        for server in self._servers:
            server.close()
        for connection in list(self._state.connections):
            connection.shutdown()  # the idle ones close, the others after their response
        await self._settle(stop)
        for connection in list(self._state.connections):
            if isinstance(connection, GuardedProtocol):
                connection.disconnect()
        await self._settle(stop)
        for task in list(self._state.tasks):
            task.cancel()
        await self._settle(stop)
        await self._close_connections(stop)

    async def _settle(self, stop: Stop) -> None:
        """Waits until no request is under way, for one step of the time."""
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=self._step(stop))

    async def _close_connections(self, stop: Stop) -> None:
        for connection in list(self._state.connections):
            connection.transport.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._step(stop)
        while self._state.connections and loop.time() < end:  # noqa: ASYNC110 (uvicorn's set tells nobody that it is empty)
            await asyncio.sleep(0.01)
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # lets connection_lost run

    def _step(self, stop: Stop) -> float:
        return 0.0 if stop.at_once.is_set() else self._limits.stop_seconds

    async def _run_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._stopping:  # else it is the expected end; uvicorn would log a traceback
                raise

    def _date(self) -> None:
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]

    async def _keep_date(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._date()

    async def _keep_certificate(self, tls: LocalTls, context: ssl.SSLContext) -> None:
        while True:
            await asyncio.sleep(self._limits.tls_renewal_seconds)
            try:
                await asyncio.to_thread(tls.renew)
                context.load_cert_chain(tls.certificate, tls.key)  # for the handshakes from now on
            except Exception as error:
                structlog.get_logger(__name__).error("certificate_not_renewed", exc_info=error)


async def _drain(drain: Callable[[], Awaitable[None]], stop: Stop) -> None:
    async def draining() -> None:
        await drain()

    try:
        await _unless(stop.at_once, draining())
    except Exception as error:
        structlog.get_logger(__name__).error("drain_failed", exc_info=error)


async def _stop_lifespan(lifespan: Lifespan, stop: Stop, limits: EdgeLimits) -> None:
    try:
        async with asyncio.timeout(limits.lifespan_seconds):
            await _unless(stop.at_once, lifespan.stop())
    except TimeoutError:
        structlog.get_logger(__name__).error("shutdown_timed_out", seconds=limits.lifespan_seconds)
    await lifespan.abandon(limits.stop_seconds)


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Does the work, unless the event comes first; raises what the work raises. Whether the work was done."""
    task, waiter = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        done = task.done()
    finally:
        waiter.cancel()
        task.cancel()
    if done:
        task.result()
    else:
        await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    return done
