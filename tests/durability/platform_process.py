"""The real server as a process that can be killed and started again on the same data directory and port."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

from http_wire import PATIENCE, Connection

HOST = "127.0.0.1"


class PlatformProcess:
    """``stillmotion serve --engine mock`` on ``folder``/data; ``settings`` are fields of settings.py."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.data = folder / "data"
        self.port = free_port()
        self.log = folder / "server.log"
        """What all lives of the server wrote to stderr."""
        self._folder = folder
        self.settings: dict[str, object] = dict(settings)
        """For the next start."""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def connect(self) -> Connection:
        return Connection(HOST, self.port)

    async def launch(self) -> None:
        """Starts the process; returns before it is ready."""
        assert not self.alive
        command = [sys.executable, "-m", "stillmotion", "serve", "--engine", "mock", "--host", HOST]
        command += ["--port", str(self.port), "--tls-port", "0", "--data", str(self.data)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STILLMOTION_")}
        chosen = {f"STILLMOTION_{name.upper()}": str(value) for name, value in self.settings.items()}
        with self.log.open("a") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self._folder,  # no stillmotion.toml there
                env=clean | chosen,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
            )

    async def ready(self) -> None:
        """Returns when the server answers; raises AssertionError, with its log, when it ends or hangs instead."""
        assert self._process
        with suppress(TimeoutError):
            await until(lambda: not self.alive or self._announced(), pause=0.01)
        if not self.alive or not self._announced():
            raise AssertionError(f"the server did not start:\n{self.log.read_text()[-4000:]}")
        with closing(self.connect()) as connection:
            answer = await connection.ask("GET", "/health/ready")
        assert answer.status == 200, answer

    async def start(self) -> None:
        await self.launch()
        await self.ready()

    async def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        assert self._process
        self._process.kill()
        await self._process.wait()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    async def ended(self) -> int:
        """The exit status, negative for a signal. Raises TimeoutError."""
        assert self._process
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    def _announced(self) -> bool:
        """A killed server leaves its file behind, so the process id tells whose it is."""
        assert self._process
        try:
            told = json.loads((self.data / "server.json").read_text())
        except (FileNotFoundError, ValueError):  # not there, or half written
            return False
        return bool(told["pid"] == self._process.pid)


@asynccontextmanager
async def platform_process(folder: Path, **settings: object) -> AsyncIterator[PlatformProcess]:
    """A server that is ready; it is dead afterwards, whatever happened."""
    server = PlatformProcess(folder, settings)
    try:
        await server.start()
        yield server
    finally:
        if server.alive:
            await server.kill()


async def until(condition: Callable[[], bool], *, pause: float = 0.002) -> None:
    """Looks at what tells nobody when it changes: other processes, files. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(pause)


def free_port() -> int:
    """A free port below the range from which the kernel serves outgoing connections.

    The port must stay ours while the server is dead: from the ephemeral range (32768 upwards) another program could
    get it, and a client that connects to it could even meet itself (TCP simultaneous open).
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as sock, suppress(OSError):
            sock.bind((HOST, port))
            return port
