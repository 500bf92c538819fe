"""``stillmotion serve``: the platform on two listeners, until told to stop."""

import asyncio
import gc
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

from stillmotion.app import application, is_loopback, platform
from stillmotion.cli import log
from stillmotion.cli.running import STATE_FILE, local_tls
from stillmotion.edge.server import run, serve
from stillmotion.edge.sockets import Address, Listener
from stillmotion.errors import ConfigurationError
from stillmotion.settings import Settings
from stillmotion.tls import LOCAL_NAMES

ANY_ADDRESS = ("0.0.0.0", "::")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve_forever(*, stop_at_eof: bool = False, **flags: Any) -> int:
    settings = Settings.load(**flags)
    log.configure(settings.log_level)
    if stop_at_eof:
        threading.Thread(target=_stop_at_eof, daemon=True).start()
    run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    listeners = _listeners(settings)
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
        if "https" in urls and is_loopback(settings.host):
            bundle = local_tls(settings.data).bundle.resolve()
            running.access.update(https=urls["https"], ca=str(bundle))
        _announce(urls, settings, first_key)

    first_key = await running.service.keys.first()
    # What stands now stands until the end. Left among the rest, it was walked again and again: 6% of the time of a
    # server under load.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()
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


def _stop_at_eof() -> None:
    """A pipe ends with the process that holds its other end, also when that one had no time to stop anybody."""
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _listeners(settings: Settings) -> list[Listener]:
    """http on loopback unless it is asked for elsewhere, https on the host. Raises ConfigurationError."""
    wide = not is_loopback(settings.host)
    if wide and settings.https_port is None and not settings.insecure_http:
        raise ConfigurationError(
            f"{settings.host} is not a loopback address: serve https (tls_port) or allow --insecure-http"
        )
    http_host = settings.host if settings.insecure_http or not wide else "127.0.0.1"
    listeners = [Listener(http_host, settings.port, None)]
    if settings.https_port is not None:
        listeners.append(
            Listener(settings.host, settings.https_port, local_tls(settings.data, certificate_names(settings)))
        )
    return listeners


def certificate_names(settings: Settings) -> tuple[str, ...]:
    """What the server's certificate says: this machine's own names, and those that clients elsewhere use."""
    if is_loopback(settings.host):
        return (*LOCAL_NAMES, *settings.allowed_hosts)
    own = () if settings.host in ANY_ADDRESS else (settings.host,)
    return tuple(dict.fromkeys((*LOCAL_NAMES, *own, socket.gethostname().lower(), *settings.allowed_hosts)))


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


def _announce(urls: dict[str, str], settings: Settings, first_key: str | None) -> None:
    print("Stillmotion is ready", flush=True)
    print(f"  http   {urls['http']}", flush=True)
    if "https" in urls:
        print(f"  https  {urls['https']}  (for fal's Python client)", flush=True)
        print(f'  use it from this shell: eval "$(stillmotion client-env --data {settings.data})"', flush=True)
    if not is_loopback(settings.host):
        names = [name for name in certificate_names(settings) if name not in LOCAL_NAMES]
        print(f"  from other machines: {', '.join(names)}", flush=True)
        print("  every caller needs a key: stillmotion keys create NAME", flush=True)
    if first_key is not None:
        print(f"  the first admin key, shown this once: {first_key}", flush=True)
