"""``stillmotion serve``: the platform on two listeners, until told to stop."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from stillmotion.app import application, is_loopback, platform
from stillmotion.cli import log
from stillmotion.edge.server import run, serve
from stillmotion.edge.sockets import Address, Listener
from stillmotion.errors import ConfigurationError
from stillmotion.settings import Settings
from stillmotion.tls import LocalTls, ensure_certificate

STATE_FILE = "server.json"
"""In the data directory while a server runs on it: its URLs and process id."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
ROOTS_VARIABLE = "SSL_CERT_FILE"


def local_tls(data: Path) -> LocalTls:
    """The certificates of a data directory, made if need be; the user's own roots stay in the bundle."""
    roots = os.environ.get(ROOTS_VARIABLE)
    return ensure_certificate(data / "tls", roots=Path(roots) if roots else None)


def serve_forever(**flags: Any) -> int:
    settings = Settings.load(**flags)
    if not is_loopback(settings.host):
        raise ConfigurationError(
            f"{settings.host} is not a loopback address: without API keys a server may only listen on this machine"
        )
    log.configure(settings.log_level)
    run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    listeners = [Listener(settings.host, settings.port, None)]
    if settings.https_port is not None:
        listeners.append(Listener(settings.host, settings.https_port, local_tls(settings.data)))
    state = settings.data / STATE_FILE
    starting = platform(settings)
    try:
        with Console(stderr=True).status("starting the engine …"), _interruptible():
            running = await starting.__aenter__()
    except asyncio.CancelledError:
        return

    def ready(addresses: Sequence[Address]) -> None:
        urls = {"https" if address.tls else "http": _url(address) for address in addresses}
        state.write_text(json.dumps({"pid": os.getpid(), **urls}))
        _announce(urls, settings)

    try:
        await serve(
            application(running),
            listeners,
            on_ready=ready,
            drain=lambda: running.service.drain(settings.drain_seconds),
        )
    finally:
        with suppress(FileNotFoundError):
            state.unlink()
        await starting.__aexit__(None, None, None)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Until the server takes the signals itself, they cancel the start, which then cleans up and ends with 0."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def _url(address: Address) -> str:
    if address.tls:
        # By name: it stands in the certificate, and it is what client-env hands to clients.
        return f"https://localhost:{address.port}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"http://{host}:{address.port}"


def _announce(urls: dict[str, str], settings: Settings) -> None:
    print("Stillmotion is ready", flush=True)
    print(f"  http   {urls['http']}", flush=True)
    if "https" in urls:
        print(f"  https  {urls['https']}  (for fal's Python client)", flush=True)
        print(f'  use it from this shell: eval "$(stillmotion client-env --data {settings.data})"', flush=True)
