"""A server for one program or one run of tests: on free ports that nobody else knows, stopped at the end."""

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stillmotion.cli.running import STATE_FILE, local_tls
from stillmotion.errors import ConfigurationError
from stillmotion.settings import PREFIX, Settings

STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a server is, and what verifies its certificate."""

    host: str
    port: int
    trust: ssl.SSLContext

    @classmethod
    def at(cls, url: str, data: Path) -> "Reached":
        """The server at an https URL, whose data directory is ``data``. Raises ConfigurationError for other URLs."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ConfigurationError(f"--url takes the https URL of a server, not {url!r}")
        trust = ssl.create_default_context(cafile=str(local_tls(data).bundle))
        return cls(parts.hostname, parts.port or 443, trust)

    @property
    def verified_name(self) -> str:
        return "localhost" if self.host in ("127.0.0.1", "::1") else self.host


@contextmanager
def private_server(data: Path, engine: str | None = None, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """The https URL of a server on the new directory ``data``, with the user's settings and ``settings`` over them.

    Its log is shown in the ConfigurationError that is raised if it does not start.
    """
    data.mkdir()
    log = data / "server.log"
    command = [sys.executable, "-m", "stillmotion", "serve", "--host", "127.0.0.1", "--port", "0", "--data", str(data)]
    command += ["--stop-at-eof", *(["--engine", engine] if engine else [])]
    if Settings.load().tls_port is not None:
        # The user's own server has it, or had https turned off.
        command += ["--tls-port", str(_free_port())]
    given = {f"{PREFIX}{name.upper()}": value for name, value in (settings or {}).items()}
    with log.open("wb") as stream:
        # In a group of its own: Ctrl-C is for the command, which may want to end its requests.
        server = subprocess.Popen(
            command,
            # Nothing is ever written: it ends when this process does, however that is.
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | given,
            start_new_session=True,
        )
    try:
        yield _started(server, data, log)
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        assert server.stdin
        server.stdin.close()


def _started(server: "subprocess.Popen[bytes]", data: Path, log: Path) -> str:
    while True:
        if server.poll() is not None:
            last = "\n".join(log.read_text(errors="replace").strip().splitlines()[-12:])
            raise ConfigurationError(f"the private server did not start:\n{last}")
        try:
            return str(json.loads((data / STATE_FILE).read_text())["https"])
        except (FileNotFoundError, ValueError):
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
