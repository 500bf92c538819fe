"""The guarded protocol, over raw sockets."""

import contextlib
import itertools
import socket
import ssl
import time
from pathlib import Path

import pytest
from edge_process import PATIENCE, EdgeProcess, ask, edge_process, read_response, read_to_end, statuses
from websockets.sync.client import connect

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /count HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

AMBIGUOUS = {
    "length and coding": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two equal lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "list of lengths": POST + b"Content-Length: 1, 1\r\n\r\nx",
    "signed length": POST + b"Content-Length: +1\r\n\r\nx",
    "negative length": POST + b"Content-Length: -1\r\n\r\nx",
    "hexadecimal length": POST + b"Content-Length: 0x1\r\n\r\nx",
    "length with underscore": POST + b"Content-Length: 1_0\r\n\r\nx",
    "empty length": POST + b"Content-Length: \r\n\r\nx",
    "overflowing length": POST + b"Content-Length: 99999999999999999999999\r\n\r\nx",
    "folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "folded with tab": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tb\r\n\r\n",
    "folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "folded first header": b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "empty header name": b"GET / HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked is not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "control in coding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "coding in 1.0": b"POST /count HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "another host in the target": b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "authority as target": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "space in target": b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "control in target": b"GET /\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "unknown method": b"SPAM / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS on the plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "chunk size with LF": CHUNKED + b"1\nx\n0\n\n",
    "negative chunk": CHUNKED + b"-1\r\nx\r\n0\r\n\r\n",
    "prefixed chunk": CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n",
    "overflowing chunk": CHUNKED + b"fffffffffffffffff\r\nx\r\n0\r\n\r\n",
    "chunk longer than said": CHUNKED + b"1\r\nxy\r\n0\r\n\r\n",
    "LF in chunk extension": CHUNKED + b"1;a\nb\r\nx\r\n0\r\n\r\n",
    "WebSocket with a body": b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Content-Length: 9\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_could_be_read_in_two_ways_is_refused(edge: EdgeProcess, request_bytes: bytes) -> None:
    # What follows must not be taken for a request of its own: one answer, then the end.
    answer = ask(edge, request_bytes + GET)
    assert statuses(answer) == [400]
    assert b"connection: close" in answer
    assert b'{"detail": ' in answer


def test_plain_requests_pass(edge: EdgeProcess, strict: ssl.SSLContext) -> None:
    for index, tls, scheme in ((0, None, b'"scheme": "http"'), (1, strict, b'"scheme": "https"')):
        answer = ask(edge, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", index, tls)
        assert statuses(answer) == [200]
        assert scheme in answer
        assert b"\r\ndate: " in answer
        assert b"\r\nserver:" not in answer
    assert statuses(ask(edge, b"GET / HTTP/1.0\r\n\r\n")) == [200]
    assert statuses(ask(edge, b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")) == [
        200
    ]


def test_forwarded_headers_of_strangers_are_not_believed(edge: EdgeProcess) -> None:
    forged = b"X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
    answer = ask(edge, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + forged)
    assert b'"scheme": "http", "client": "127.0.0.1"' in answer


def test_half_open_headers_are_cut_off(edge: EdgeProcess) -> None:
    beginnings = [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"\r\n", b"G"]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(edge.connect()) for _ in range(300)]
        for each, beginning in zip(connections, itertools.cycle(beginnings), strict=False):
            each.sendall(beginning)
        with edge.connect() as other:
            other.sendall(GET)
            assert read_response(other)[0] == 200
        silent = stack.enter_context(edge.connect(1))  # not even a handshake
        assert all(read_to_end(each) == b"" for each in (*connections, silent))


def test_dripping_does_not_keep_a_head_open(edge: EdgeProcess) -> None:
    drips = {}
    with contextlib.ExitStack() as stack:
        for beginning, drip in ((b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x"), (b"", b"\r\n")):
            sock = stack.enter_context(edge.connect())
            sock.sendall(GET)
            assert read_response(sock)[0] == 200  # also on a connection that has proved itself
            sock.sendall(beginning)
            sock.settimeout(0.02)
            drips[sock] = drip
        end = time.monotonic() + PATIENCE
        while drips:
            assert time.monotonic() < end
            for sock, drip in list(drips.items()):
                try:
                    sock.sendall(drip)
                    open_still = sock.recv(1) != b""
                except TimeoutError:
                    open_still = True
                except OSError:
                    open_still = False
                if not open_still:
                    del drips[sock]


def test_idle_connections_are_closed(edge: EdgeProcess, strict: ssl.SSLContext) -> None:
    with edge.connect() as plain, edge.connect(1, strict) as encrypted, edge.connect(1, strict) as unheard:
        for sock in (plain, encrypted, unheard):
            sock.sendall(GET)
            assert read_response(sock)[0] == 200
        assert read_to_end(plain) == read_to_end(encrypted) == b""
        edge.wait_until_gone(unheard.getsockname())  # though this client never answers the end of TLS


@pytest.mark.parametrize(
    "headers",
    [
        b"X-Long: " + b"a" * 40_000 + b"\r\n\r\n",
        b"X-Long: " + b"a" * 40_000,  # without an end
        b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(40)) + b"\r\n",
        b"".join(b"X-%d: a\r\n" % i for i in range(101)) + b"\r\n",
    ],
    ids=["one header", "unfinished header", "total", "count"],
)
def test_large_heads_are_refused(edge: EdgeProcess, headers: bytes) -> None:
    answer = ask(edge, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + headers)
    assert statuses(answer) == [431]
    assert b"connection: close" in answer


def test_a_long_target_is_refused(edge: EdgeProcess) -> None:
    assert statuses(ask(edge, b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")) == [431]


def test_heads_within_the_bounds_pass(edge: EdgeProcess) -> None:
    padding = b"".join(b"X-%d: %s\r\n" % (i, b"a" * 300) for i in range(97))
    answer = ask(edge, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + padding + b"\r\n")
    assert statuses(answer) == [200]


def test_a_refused_client_may_finish_sending(edge: EdgeProcess) -> None:
    with edge.connect() as sock:
        sock.sendall(b"rubbish\r\n\r\n")
        assert statuses(read_to_end(sock)) == [400]
        for _ in range(3):  # a reset, which some systems let destroy the answer, would make this fail
            sock.sendall(b"more")
            time.sleep(0.03)


def test_trailers_do_not_become_headers(edge: EdgeProcess) -> None:
    with edge.connect() as sock:
        sock.sendall(CHUNKED + b"3;note=x\r\nabc\r\n0\r\nX-Late: 1\r\nAuthorization: Key a:b\r\n\r\n")
        code, _, body = read_response(sock)
    assert code == 200
    assert b'"size": 3' in body
    assert b"authorization" not in body
    assert b"x-late" not in body


@pytest.mark.parametrize("waste", [b"1;" + b"a" * 200_000, b"0\r\n" + b"X: a\r\n" * 200, b"0\r\nX: " + b"a" * 200_000])
def test_chunk_framing_is_bounded(edge: EdgeProcess, waste: bytes) -> None:
    with edge.connect() as sock:
        sock.sendall(CHUNKED + b"1\r\na\r\n")
        for start in range(0, len(waste), 16_384):
            sock.sendall(waste[start : start + 16_384])
        answer = read_to_end(sock)
        assert statuses(answer) in ([400], [431])
        assert b"slow" not in answer  # refused for its framing, not after a while for its rate


def test_tiny_chunks_pass(edge: EdgeProcess) -> None:
    with edge.connect() as sock:
        sock.sendall(CHUNKED + b"1\r\na\r\n" * 200_000 + b"0\r\n\r\n")
        code, _, body = read_response(sock)
    assert code == 200
    assert b'"size": 200000' in body


def test_pipelined_requests_are_answered_in_order(edge: EdgeProcess) -> None:
    with edge.connect() as sock:
        sock.sendall(b"GET /brief HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET)
        assert read_response(sock)[2] == b'"done"'
        assert b"scheme" in read_response(sock)[2]


def test_pipelining_is_bounded(edge: EdgeProcess) -> None:
    answer = ask(edge, b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET * 50)
    assert statuses(answer) in ([], [200])


def test_no_answer_is_written_into_a_response_under_way(edge: EdgeProcess) -> None:
    with edge.connect() as sock:
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"data: 1" not in (seen := sock.recv(65536)):
            pass
        sock.sendall(b"rubbish\r\n\r\n")
        assert b"400" not in seen + read_to_end(sock)


def test_one_request_gets_one_answer(edge: EdgeProcess) -> None:
    with edge.connect() as sock:
        sock.sendall(b"POST /early HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert read_response(sock)[0] == 401
        sock.sendall(b"rubbish\r\n")
        assert read_to_end(sock) == b""


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.0"])
def test_other_upgrades_are_ignored_and_the_connection_ends(edge: EdgeProcess, upgrade: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n"
    answer = ask(edge, head + GET)
    assert statuses(answer) == [200]
    assert b"connection: close" in answer


def test_the_rest_of_an_answered_body_is_read_for_a_moment_only(edge: EdgeProcess) -> None:
    head = b"POST /early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n"
    with edge.connect() as dripping, contextlib.suppress(ConnectionError):
        dripping.sendall(head)
        assert read_response(dripping)[0] == 401
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            dripping.sendall(b"x")
            time.sleep(0.05)
        pytest.fail("the connection stayed open")
    with edge.connect() as flooding, contextlib.suppress(ConnectionError):
        flooding.sendall(head)
        assert read_response(flooding)[0] == 401
        for _ in range(1000):  # 64 MB, of which it takes a quarter
            flooding.sendall(bytes(65536))
        pytest.fail("the connection stayed open")


def test_a_connection_lives_on_when_the_rest_comes(edge: EdgeProcess) -> None:
    with edge.connect() as sock:
        sock.sendall(b"POST /early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234")
        assert read_response(sock)[0] == 401
        sock.sendall(b"56789" + GET)
        assert read_response(sock)[0] == 200
        sock.sendall(b"POST /early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234")
        assert read_response(sock)[0] == 401
        sock.sendall(b"56789")
        assert read_to_end(sock) == b""  # and is idle then, with a bound


def test_a_reader_that_never_reads_is_cut_off(edge: EdgeProcess) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(PATIENCE)
        sock.connect(edge.address())
        own = sock.getsockname()
        edge.marker.unlink(missing_ok=True)
        sock.sendall(b"GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        end = time.monotonic() + PATIENCE
        while not edge.marker.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        edge.wait_until_gone(own)


def test_websockets_pass_and_outlive_the_idle_time(edge: EdgeProcess, strict: ssl.SSLContext) -> None:
    with contextlib.ExitStack() as stack:
        opened = []
        for index, tls in ((0, None), (1, strict)):
            url = edge.urls[index].replace("http", "ws", 1)
            opened.append(stack.enter_context(connect(url, ssl=tls, open_timeout=PATIENCE, proxy=None)))
        used = edge.connect()  # a connection that served a request before, and one whose body came late
        used.sendall(b"POST /early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n")
        assert read_response(used)[0] == 401
        used.sendall(b"x")
        url = edge.urls[0].replace("http", "ws", 1)
        opened.append(stack.enter_context(connect(url, sock=used, open_timeout=PATIENCE)))
        time.sleep(1.3)
        for websocket in opened:
            websocket.send("hello")
            assert websocket.recv(PATIENCE) == "hello"


def test_the_rest_of_a_body_and_an_upgrade_in_one_read(edge: EdgeProcess) -> None:
    """Both complete a message of an idle connection; neither may leave a timer behind that cuts the websocket."""
    with edge.connect() as used:
        used.sendall(b"POST /early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n")
        assert read_response(used)[0] == 401
        used.sendall(
            b"xGET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert used.recv(4096).startswith(b"HTTP/1.1 101 ")
        used.settimeout(1.5)  # the idle time is 1 s
        with pytest.raises(TimeoutError):
            assert used.recv(1) == b"", "the websocket was cut"


def test_connections_of_one_address_can_be_bounded(tmp_path: Path) -> None:
    with edge_process(tmp_path, limits={"connections_per_address": 3}) as child, contextlib.ExitStack() as stack:
        held = [stack.enter_context(child.connect()) for _ in range(3)]
        for each in held:
            each.sendall(GET)
            assert read_response(each)[0] == 200
        assert ask(child, GET) == b""
        held[0].close()
        end = time.monotonic() + PATIENCE
        while not (answer := ask(child, b"GET / HTTP/1.0\r\n\r\n")):  # until the server has seen it close
            assert time.monotonic() < end
        assert statuses(answer) == [200]
