"""A receiver of webhooks on loopback: real HTTP on a real port, answers by script, and fal's way to verify."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PATIENCE = 30.0
LEEWAY = 300


@dataclass(frozen=True)
class Received:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        return json.loads(self.body)


class Receiver:
    """``answers``: statuses by path, one for each delivery, the last for all that follow; 200 where none is set.

    Deliveries to a path of ``held`` are answered once its event is set.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: dict[str, list[int]] = {}
        self.held: dict[str, threading.Event] = {}
        self.holding = 0
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Listens, on the port that it had before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Refuses connections."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def of(self, id: str) -> list[Received]:
        """The deliveries for one request so far."""
        with self._lock:
            return [each for each in self.received if each.told["request_id"] == id]

    def wait(self, id: str, count: int = 1) -> list[Received]:
        until(lambda: len(self.of(id)) >= count, f"{count} deliveries for {id}")
        return self.of(id)

    def _take(self, received: Received) -> int:
        """The status for a delivery."""
        with self._lock:
            self.received.append(received)
            script = self.answers.get(received.path, [200])
            return script.pop(0) if len(script) > 1 else script[0]

    def _hold(self, path: str) -> None:
        with self._lock:
            self.holding += 1
        self.held[path].wait(PATIENCE)
        with self._lock:
            self.holding -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                path = self.path.partition("?")[0]
                if path in receiver.held:
                    receiver._hold(path)
                status = receiver._take(Received(path, dict(self.headers), body))
                try:
                    self.send_response(status)
                    if 300 <= status < 400:
                        self.send_header("location", f"{receiver.url}/elsewhere")
                    self.send_header("content-length", "2")
                    self.end_headers()
                    self.wfile.write(b"ok")
                except OSError:
                    pass  # the server was killed meanwhile

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        for event in receiver.held.values():
            event.set()
        receiver.down()


def verify(received: Received, keys: list[dict[str, str]]) -> bool:
    """As fal's documentation has a receiver do it."""
    headers = {name.lower(): value for name, value in received.headers.items()}
    try:
        names = ("request-id", "user-id", "timestamp", "signature")
        request_id, user_id, timestamp, signature = (headers[f"x-fal-webhook-{name}"] for name in names)
    except KeyError:
        return False
    if abs(time.time() - int(timestamp)) > LEEWAY:
        return False
    message = f"{request_id}\n{user_id}\n{timestamp}\n{hashlib.sha256(received.body).hexdigest()}".encode()
    return any(_fits(key, bytes.fromhex(signature), message) for key in keys)


def _fits(key: Mapping[str, str], signature: bytes, message: bytes) -> bool:
    assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "=="))
    try:
        public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Looks again and again; the bound is for what hangs, not an expectation."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.01)
