"""``stillmotion exec``: runs a program that was written for fal, unchanged, against a server of ours."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stillmotion.cli.private_server import Reached, private_server
from stillmotion.cli.surroundings import fal_names, outside, surroundings
from stillmotion.edge.connect_proxy import Outside, connect_proxy
from stillmotion.errors import ConfigurationError
from stillmotion.settings import Settings
from stillmotion.tls import LocalTls

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""What a shell answers for such commands."""


def run_command(
    command: Sequence[str],
    *,
    url: str | None,
    engine: str | None,
    data: Path | None,
    offline: bool = False,
    fixtures: Path | None = None,
) -> int:
    """The exit code of ``command``, or 128 plus the signal that ended it, as shells tell it."""
    if not command:
        raise ConfigurationError("name a command to run: stillmotion exec -- python app.py")
    with tempfile.TemporaryDirectory(prefix="stillmotion-exec-") as folder:
        scratch = Path(folder)
        names = fal_names(scratch / "names")
        if url is not None:
            if engine is not None or offline or fixtures is not None:
                raise ConfigurationError(
                    "--engine, --offline and --fixtures are for the private server; the one at --url has its own"
                )
            server = Reached.at(url, Settings.load(data=data).data)
            return asyncio.run(_beside(command, server, names, outside(offline=False)))
        settings = {
            **({"offline": "true"} if offline else {}),
            **({"fixtures": str(fixtures.resolve())} if fixtures else {}),
        }
        offline = offline or Settings.load().offline
        with private_server(scratch / "data", engine, settings) as private:
            server = Reached.at(private, scratch / "data")
            return asyncio.run(_beside(command, server, names, outside(offline=offline)))


async def _beside(command: Sequence[str], server: Reached, names: LocalTls, outside: Outside) -> int:
    """Runs the command while the proxy runs."""
    address = (server.host, server.port)
    async with connect_proxy(
        address, server.trust, names.server_context(), server_hostname=server.verified_name, outside=outside
    ) as ports:
        try:
            child = await asyncio.create_subprocess_exec(*command, env=surroundings(names, ports))
        except FileNotFoundError:
            print(f"stillmotion: {command[0]}: command not found", file=sys.stderr)
            return NOT_FOUND
        except OSError as error:
            print(f"stillmotion: {command[0]}: {error.strerror}", file=sys.stderr)
            return NOT_EXECUTABLE
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Ctrl-C at a terminal reaches the command by itself; what is sent to us alone is passed on.
            loop.add_signal_handler(number, _pass_on, child, number)
        code = await child.wait()
        return code if code >= 0 else 128 - code


def _pass_on(child: asyncio.subprocess.Process, number: int) -> None:
    if number != signal.SIGINT and child.returncode is None:
        child.send_signal(number)
