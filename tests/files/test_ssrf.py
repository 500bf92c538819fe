"""No request reaches an address that it should not: the corpus, redirects to it, and resolvers that lie."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from raw_http_server import RawServer, reply, run_server

from stillmotion.errors import FileDownloadError
from stillmotion.files.addresses import AllowList
from stillmotion.files.fetch import Fetcher
from stillmotion.files.guard import MAX_LOOKUPS
from stillmotion.files.inputs import Inputs

NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "ip6-localhost": ["::1"],
    "ip6-loopback": ["::1"],
    "loopback.test": ["127.0.0.1"],
    "deep.loopback.test": ["127.0.0.1"],
    "intranet.test": ["10.1.2.3"],
    "printer.test": ["192.168.178.20"],
    "metadata.google.internal": ["169.254.169.254"],
    "metadata": ["169.254.169.254"],
    "instance-data": ["169.254.169.254"],
    "kubernetes.default.svc": ["10.96.0.1"],
}


def corpus() -> dict[str, list[Any]]:
    entries: dict[str, list[Any]] = {}
    for line in (Path(__file__).parent / "ssrf_corpus.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            entries.setdefault(line[0], []).append(json.loads(line[2:]))
    return entries


async def resolve(host: str, port: int) -> list[str]:
    """The names above; else what the C library takes for a number: no spelling is refused for want of DNS."""
    if host in NAMES:
        return NAMES[host]
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(answer[4][0]) for answer in answers]


class Connects:
    """Every address that a socket of this process connects to."""

    def __init__(self) -> None:
        self.addresses: list[tuple[Any, ...]] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            self.addresses.append(arguments[1])


@pytest.fixture(scope="module")
def audit() -> Connects:
    connects = Connects()
    sys.addaudithook(connects)  # cannot be taken away again; it costs nothing until a socket connects
    return connects


@pytest.fixture
def connects(audit: Connects) -> list[tuple[Any, ...]]:
    audit.addresses.clear()
    return audit.addresses


class Canaries:
    """Listeners on one port of 127.0.0.1 and, where there is IPv6, of ::1."""

    def __init__(self, servers: list[RawServer], port: int) -> None:
        self.servers, self.port = servers, port

    @property
    def connections(self) -> int:
        return sum(server.connections for server in self.servers)


@pytest.fixture
async def canaries() -> AsyncIterator[Canaries]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(run_server())
        servers = [first]
        if socket.has_ipv6:
            with suppress(OSError):  # the kernel has no ::1
                servers.append(await stack.enter_async_context(run_server("::1", port=first.port)))
        for server in servers:
            server.answers = {"/": reply(200, b"secret")}
        yield Canaries(servers, first.port)


def fetcher(canaries: Canaries, *allow: str, **options: Any) -> Fetcher:
    """Takes the canaries' port for a web port, so that only the address can be what is refused."""
    ports = frozenset({80, 443, 8080, 8443, canaries.port})
    options = {"retries": 0, "resolve": resolve, "timeout": 5.0, **options}
    return Fetcher(AllowList.parse(allow), ports=ports, **options)


async def nobodys(url: str, tenant: str) -> None:
    """None of the URLs is a file of this server's own."""


async def refusal(inputs: Fetcher | Inputs, url: str, target: Path) -> str:
    """The text of the FileDownloadError, or what happened instead."""
    try:
        if isinstance(inputs, Inputs):
            await inputs.bring(url, target, "anybody")
        else:
            await inputs.fetch(url, target)
    except FileDownloadError as error:
        return "left a file" if target in list(target.parent.iterdir()) else error.message
    return "was fetched"


ACCIDENTS = ("left a file", "was fetched", "answered", "secret", "longer", "more than")


def test_corpus_is_large() -> None:
    entries = corpus()
    assert sorted(entries) == list("ABCDEFGHI")
    assert sum(map(len, entries.values())) >= 250
    for urls in entries.values():
        assert len({json.dumps(url) for url in urls}) == len(urls)


@pytest.mark.parametrize("category", list("ABCDEFG"))
async def test_corpus_url_is_refused_without_a_connection(
    category: str, canaries: Canaries, connects: list[Any], tmp_path: Path
) -> None:
    inputs = Inputs(fetcher(canaries), own=nobodys)
    for entry in corpus()[category]:
        url = entry.replace("{p}", str(canaries.port))
        text = await refusal(inputs, url, tmp_path / "file")
        assert not any(accident in text for accident in ACCIDENTS), (url, text)
        assert not connects, (url, connects)
    assert canaries.connections == 0


async def test_canary_can_be_reached_when_it_is_allowed(canaries: Canaries, tmp_path: Path) -> None:
    """The proof that the tests here can fail."""
    allowing = fetcher(canaries, "127.0.0.0/8")
    await allowing.fetch(f"http://loopback.test:{canaries.port}/", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"secret"
    assert canaries.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_checked_again(status: int, canaries: Canaries, connects: list[Any], tmp_path: Path) -> None:
    async with run_server() as server:
        allowing = fetcher(canaries, f"127.0.0.1:{server.port}")
        for number, entry in enumerate(corpus()["H"]):
            location = entry.replace("{p}", str(canaries.port))
            server.answers = {f"/{number}": reply(status, location=location)}
            text = await refusal(allowing, f"{server.url}/{number}", tmp_path / "file")
            assert not any(accident in text for accident in ACCIDENTS), (location, text)
        assert server.connections == len(corpus()["H"])
        assert {address[:2] for address in connects} == {("127.0.0.1", server.port)}
    assert canaries.connections == 0


async def test_host_of_a_refused_redirect_is_not_told(canaries: Canaries, tmp_path: Path) -> None:
    async with run_server() as server:
        server.answers = {"/": reply(302, location="http://intranet.test/")}
        text = await refusal(fetcher(canaries, f"127.0.0.1:{server.port}"), server.url, tmp_path / "file")
        assert text.startswith("could not download from 127.0.0.1 (")
        assert "intranet" not in text


@pytest.mark.parametrize("answers", corpus()["I"], ids=lambda answers: answers[0])
async def test_every_answer_of_the_resolver_must_be_public(
    answers: list[str], canaries: Canaries, connects: list[Any], tmp_path: Path
) -> None:
    async def lie(host: str, port: int) -> list[str]:
        return answers[1:]

    text = await refusal(fetcher(canaries, resolve=lie), f"http://case.test:{canaries.port}/", tmp_path / "file")
    assert text.startswith("could not download from case.test (")
    assert not connects
    assert canaries.connections == 0


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "168.63.129.16", "64:ff9b::a9fe:a9fe", "::ffff:169.254.169.254"]
)
async def test_metadata_is_refused_even_under_an_allow_list(
    address: str, canaries: Canaries, connects: list[Any], tmp_path: Path
) -> None:
    async def lead(host: str, port: int) -> list[str]:
        return [address]

    everything = fetcher(canaries, "0.0.0.0/0", "::/0", "*.test", "case.test", resolve=lead)
    assert "could not download" in await refusal(everything, "http://case.test/", tmp_path / "file")
    assert not connects


async def test_rebinding_between_connections_is_refused(
    canaries: Canaries, connects: list[Any], tmp_path: Path
) -> None:
    """The second answer is private. Each connection is made to the answer that was checked, and to no later one."""
    async with run_server() as server:
        answers = [["127.0.0.1"], ["10.0.0.1"]]

        async def rebind(host: str, port: int) -> list[str]:
            return answers.pop(0)

        server.answers = {"/": reply(302, location="/again", connection="close")}
        allowing = fetcher(canaries, f"127.0.0.1:{server.port}", resolve=rebind)
        text = await refusal(allowing, f"http://rebind.test:{server.port}/", tmp_path / "file")
        assert text.startswith("could not download from rebind.test (")
        assert [address[:2] for address in connects] == [("127.0.0.1", server.port)]
        assert not answers


async def test_one_look_up_for_one_connection(canaries: Canaries, tmp_path: Path) -> None:
    looked_up = []

    async def count(host: str, port: int) -> list[str]:
        looked_up.append((host, port))
        return ["127.0.0.1"]

    allowing = fetcher(canaries, "127.0.0.1", resolve=count)
    await allowing.fetch(f"http://once.test:{canaries.port}/", tmp_path / "file")
    assert looked_up == [("once.test", canaries.port)]
    assert b"\r\nHost: once.test:%d\r\n" % canaries.port in canaries.servers[0].requests[0]


async def test_refused_and_unreachable_tell_the_same_after_the_same_tries(canaries: Canaries, tmp_path: Path) -> None:
    outcomes = set()
    for answer in (["10.0.0.1"], ["169.254.169.254"], ["8.8.8.8", "::1"], [], ["127.0.0.9"], None):
        tries = 0

        async def lead(host: str, port: int, answer: list[str] | None = answer) -> list[str]:
            nonlocal tries
            tries += 1
            if answer is None:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return answer

        # 127.0.0.9 is allowed, and nothing listens there.
        trying = fetcher(canaries, "127.0.0.9", resolve=lead, retries=2, backoff=0.001)
        text = await refusal(trying, f"http://case.test:{canaries.port}/", tmp_path / "file")
        outcomes.add((text, tries))
    assert len(outcomes) == 1
    ((text, tries),) = outcomes
    assert tries == 3
    assert "STILLMOTION_FETCH_ALLOW" in text


async def test_port_of_an_outside_host(canaries: Canaries, connects: list[Any], tmp_path: Path) -> None:
    async def lead(host: str, port: int) -> list[str]:
        return ["8.8.8.8"]

    for port in (1, 22, 25, 81, 3306, 5432, 6379, 9200, 65535):
        text = await refusal(fetcher(canaries, resolve=lead), f"http://case.test:{port}/", tmp_path / "file")
        assert text.startswith("could not download from case.test (")
    assert not connects


async def test_slow_resolver_is_given_up_and_cannot_take_every_thread(canaries: Canaries, tmp_path: Path) -> None:
    release = asyncio.Event()
    running = 0

    async def slow(host: str, port: int) -> list[str]:
        nonlocal running
        running += 1
        await asyncio.wait_for(release.wait(), 10)
        running -= 1
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    hurried = fetcher(canaries, resolve=slow, connect_timeout=0.05)
    for _ in range(2):
        urls = [f"http://slow{n}.test/" for n in range(MAX_LOOKUPS + 4)]
        texts = await asyncio.gather(*(refusal(hurried, url, tmp_path / url[7:12]) for url in urls))
        assert all("could not download" in text for text in texts)
        assert running == MAX_LOOKUPS
    release.set()
    await asyncio.sleep(0.01)
    assert running == 0
    assert "could not download" in await refusal(hurried, "http://after.test/", tmp_path / "file")
