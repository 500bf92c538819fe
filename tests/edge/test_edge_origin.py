"""Which pages may talk to a server that needs no key."""

from pathlib import Path

import pytest
from edge_process import ask, edge_process, statuses
from starlette.types import Message, Receive, Scope, Send

from stillmotion.edge import OriginGuard

OURS = [
    "localhost",
    "LOCALHOST:8000",
    "localhost.",
    "localhost:",
    "127.0.0.1",
    "127.0.0.1:8000",
    "[::1]",
    "[::1]:8443",
    "studio.lan:8000",
    "Studio.LAN",
    "[fd00::7]:8000",
]
NOT_OURS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "evil-localhost",
    "127.0.0.1.evil.example",
    "127.0.0.2",
    "2130706433",
    "0.0.0.0",
    "[::2]",
    "::1",
    "",
    "localhost:port",
    "localhost:99999",
    "localhost@evil.example",
    "evil.example@localhost",
    "localhost/evil",
    "localhost#",
    "localhost,evil.example",
    "localhost evil.example",
    "[localhost]",
    "[::1",
    "studio.lan.evil.example",
]
FRIENDLY = [
    "http://localhost",
    "http://localhost:3000",
    "https://localhost:8443",
    "HTTP://LOCALHOST:3000",
    "http://127.0.0.1:5173",
    "http://[::1]:3000",
    "https://app.example",
    "https://app.example:443",
    "http://app.example:81",
]
FOREIGN = [
    "null",
    "",
    "https://evil.example",
    "http://localhost.evil.example",
    "http://evil.example/?localhost",
    "http://localhost@evil.example",
    "http://evil.example#localhost",
    "http://127.0.0.1.evil.example",
    "http://127.1.1.1",
    "http://app.example",
    "https://app.example:444",
    "https://app.example.evil.example",
    "file://localhost",
    "chrome-extension://localhost",
    "localhost",
    "//localhost",
    "http:/localhost",
    "http://",
    "http://localhost:99999",
    "http://localhost, http://evil.example",
    "http://studio.lan:9999",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


class Exchange:
    """One request through the guard."""

    def __init__(self, **scope: object) -> None:
        self.scope: Scope = {"type": "http", "method": "POST", "headers": [], **scope}
        self.sent: list[Message] = []
        self.passed = False

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.passed = True

    async def run(self) -> int | None:
        guard = OriginGuard(
            self.app, hosts=["studio.lan", "[fd00::7]"], origins=["https://app.example", "http://app.example:81"]
        )
        await guard(self.scope, self.receive, self.send)
        assert self.passed != bool(self.sent)
        return None if self.passed else int(self.sent[0].get("status", 0))

    async def receive(self) -> Message:
        return {"type": f"{self.scope['type']}.connect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def headers(host: str | None = "localhost:8000", *origins: str) -> list[tuple[bytes, bytes]]:
    own = [] if host is None else [(b"host", host.encode("latin-1"))]
    return own + [(b"origin", origin.encode("latin-1")) for origin in origins]


@pytest.mark.parametrize("host", OURS)
async def test_our_names_pass(host: str) -> None:
    assert await Exchange(headers=headers(host)).run() is None


@pytest.mark.parametrize("host", NOT_OURS)
async def test_other_names_are_misdirected(host: str) -> None:
    assert await Exchange(headers=headers(host)).run() == 421


async def test_exactly_one_host_is_needed() -> None:
    assert await Exchange(headers=headers(None)).run() == 421
    assert await Exchange(headers=headers() + headers()).run() == 421


@pytest.mark.parametrize("origin", FRIENDLY)
async def test_our_pages_pass(origin: str) -> None:
    assert await Exchange(headers=headers("localhost:8000", origin)).run() is None


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("host", ["localhost:8000", "studio.lan:8000"])
async def test_foreign_pages_are_refused(origin: str, host: str) -> None:
    assert await Exchange(headers=headers(host, origin)).run() == 403


async def test_one_foreign_origin_is_enough() -> None:
    assert await Exchange(headers=headers("localhost", "http://localhost", "https://evil.example")).run() == 403


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("studio.lan:8000", "http://studio.lan:8000", None),
        ("studio.lan", "http://studio.lan", None),
        ("studio.lan", "https://studio.lan:443", None),
        ("studio.lan:8000", "http://studio.lan:8001", 403),
        ("studio.lan", "http://studio.lan:8000", 403),
    ],
)
async def test_the_servers_own_pages_pass_under_every_name(host: str, origin: str, status: int | None) -> None:
    assert await Exchange(headers=headers(host, origin)).run() == status


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_is_guarded(method: str) -> None:
    assert await Exchange(method=method, headers=headers("localhost", "https://evil.example")).run() == 403
    assert await Exchange(method=method, headers=headers("evil.example")).run() == 421
    assert await Exchange(method=method, headers=headers()).run() is None


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_websockets_are_guarded(extensions: dict[str, object]) -> None:
    exchange = Exchange(type="websocket", headers=headers("localhost", "https://evil.example"), extensions=extensions)
    status = await exchange.run()
    assert status == (403 if extensions else 0)
    assert exchange.sent[0]["type"] == ("websocket.http.response.start" if extensions else "websocket.close")
    assert await Exchange(type="websocket", headers=headers("localhost"), extensions=extensions).run() is None


async def test_lifespan_passes() -> None:
    assert await Exchange(type="lifespan").run() is None


def test_over_the_wire(tmp_path: Path) -> None:
    upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    table = [
        ("Host: localhost\r\n", 200),
        ("Host: localhost\r\nOrigin: http://localhost:3000\r\n", 200),
        ("Host: localhost\r\nOrigin: https://evil.example\r\n", 403),
        ("Host: evil.example\r\n", 421),
        ("Host: localhost\r\nOrigin: https://evil.example\r\n" + upgrade, 403),
        ("Host: evil.example\r\n" + upgrade, 421),
    ]
    with edge_process(tmp_path, guarded=True, limits={"idle_seconds": 1}) as child:
        for lines, status in table:
            closing = "" if upgrade in lines else "Connection: close\r\n"
            answer = ask(child, f"GET / HTTP/1.1\r\n{lines}{closing}\r\n".encode())
            assert statuses(answer) == [status]
            assert status == 200 or b'{"detail": "' in answer
