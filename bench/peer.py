"""LitServe, the nearest peer for serving a model over HTTP, as a process that does nothing with a request.

It keeps requests in memory and runs them in a worker process; ours are on the disk when they are answered. So the
comparison is of what a client waits for, not of equal promises.
"""

import asyncio
import importlib.metadata
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from http_wire import PATIENCE, Connection, Unsent
from platform_process import HOST, free_port

PREDICT = "/predict"
PROGRAM = """
import sys
import litserve


class Nothing(litserve.LitAPI):
    def setup(self, device):
        pass

    def predict(self, request):
        return {}


if __name__ == "__main__":
    litserve.LitServer(Nothing(), accelerator="cpu", workers_per_device=1).run(
        host=sys.argv[1], port=int(sys.argv[2]), num_api_servers=1, log_level="error", generate_client_file=False
    )
"""


def version() -> str:
    """Raises FileNotFoundError if it is not installed."""
    try:
        return importlib.metadata.version("litserve")
    except importlib.metadata.PackageNotFoundError:
        raise FileNotFoundError("LitServe is not installed: pip install 'stillmotion[bench]'") from None


@asynccontextmanager
async def peer(folder: Path) -> AsyncIterator[tuple[str, int]]:
    """Its host and port; it is gone afterwards. Raises AssertionError, with its log, if it does not start."""
    program, log = folder / "nothing.py", folder / "peer.log"
    program.write_text(PROGRAM)
    port = free_port()
    with log.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(program), HOST, str(port)),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        await _ready(port, log)
        yield HOST, port
    finally:
        # Its workers are processes of the same group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _ready(port: int, log: Path) -> None:
    connection = Connection(HOST, port)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(Unsent):
                    if (await connection.ask("POST", PREDICT, b"{}")).status == 200:
                        return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"LitServe did not start:\n{_end(log)}") from None
    finally:
        connection.close()


def _end(log: Path) -> str:
    return log.read_text()[-2000:]
