"""A tiny ASGI application behind the real edge, run as a program of its own: ``python edge_app.py OPTIONS_JSON``.

Reports on stdout, one JSON object per line: ready (with addresses), draining, stopped.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send

from stillmotion.edge import Address, BodyLimit, EdgeLimits, Listener, OriginGuard, RequestId, by_prefix, run, serve
from stillmotion.tls import ensure_certificate


def report(event: str, **more: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **more}) + "\n")
    sys.stdout.flush()


class App:
    """Routes by path; counts what started."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker
        self.calls = 0
        self.lifespans = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        elif scope["type"] == "websocket":
            await self.websocket(receive, send)
        else:
            self.calls += 1
            await getattr(self, scope["path"].strip("/") or "index")(scope, receive, send)

    async def lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.lifespans += 1
        await send({"type": "lifespan.startup.complete"})
        await receive()
        report("stopped", lifespans=self.lifespans)
        await send({"type": "lifespan.shutdown.complete"})

    async def websocket(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    async def answer(self, send: Send, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body})

    async def index(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.answer(send, {"calls": self.calls, "scheme": scope["scheme"], "client": scope["client"][0]})

    async def count(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body and says how long it was, and which headers there were when it had ended."""
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ConnectionError("the client left")
            size += len(message["body"])
            if not message["more_body"]:
                break
        names = [name.decode() for name, _ in scope["headers"]]
        await self.answer(send, {"size": size, "names": names})

    sink = count  # the same with a higher limit

    async def early(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers without reading the body."""
        await self.answer(send, "early", 401)

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Events until the client leaves."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async def deaf(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A response that never ends and never looks whether its client is there."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(3600)

    async def flood(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A response as fast as it is read, until its client has left: what is sent then goes nowhere, at once."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert (await receive())["type"] == "http.request"
        left = asyncio.ensure_future(receive())
        while not left.done():
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            await asyncio.sleep(0)
            self.marker.write_text("flooding")

    async def brief(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.marker.write_text("under way")
        await asyncio.sleep(0.15)
        await self.answer(send, "done")

    async def boom(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a secret in the traceback")

    async def late_boom(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("a secret in the traceback")

    async def own_id(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Fal-Request-Id", b"mine")]})
        await send({"type": "http.response.body", "body": b"{}"})


async def main(options: dict[str, Any]) -> None:
    app = App(Path(options["marker"]))
    bounds = by_prefix({"/count": 1 << 20, "/sink": 1 << 30}, 1 << 34)
    limited = BodyLimit(app, bounds, **options.get("body", {}))
    outer = RequestId(OriginGuard(limited)) if options.get("guarded") else RequestId(limited)
    tls = ensure_certificate(Path(options["tls"])) if "tls" in options else None
    listeners = [Listener("127.0.0.1", 0)] + ([Listener("127.0.0.1", 0, tls)] if tls else [])

    def on_ready(addresses: Sequence[Address]) -> None:
        report("ready", urls=[each.url for each in addresses], loop=type(asyncio.get_running_loop()).__module__)

    async def drain() -> None:
        report("draining")
        await asyncio.sleep(options.get("drain", 0))

    limits = EdgeLimits(**options.get("limits", {}))
    await serve(outer, listeners, on_ready=on_ready, drain=drain, limits=limits)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    given = json.loads(sys.argv[1])
    if given.get("loop") == "asyncio":
        asyncio.run(main(given))
    else:
        run(main(given))
