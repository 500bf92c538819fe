"""Every response has an id, and no traceback leaves the server."""

import re
import ssl
from pathlib import Path

import pytest
from edge_process import EdgeProcess, ask, edge_process, read_response

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def get(edge: EdgeProcess, path: str) -> tuple[int, dict[str, str], bytes]:
    with edge.connect() as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return read_response(sock)


def test_responses_get_an_id_of_their_own(edge: EdgeProcess) -> None:
    ids = [get(edge, "/")[1]["x-fal-request-id"] for _ in range(3)]
    assert all(UUID.fullmatch(each) for each in ids)
    assert len(set(ids)) == 3


def test_the_applications_id_stays(edge: EdgeProcess) -> None:
    assert b"mine" in ask(edge, b"GET /own_id HTTP/1.0\r\n\r\n")
    assert ask(edge, b"GET /own_id HTTP/1.0\r\n\r\n").lower().count(b"x-fal-request-id") == 1


def test_an_exception_is_logged_here_and_plain_json_there(tmp_path: Path) -> None:
    with edge_process(tmp_path) as child:
        status, headers, body = get(child, "/boom")
        half = ask(child, b"GET /late_boom HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert get(child, "/")[0] == 200
    assert status == 500
    assert body == b'{"detail": "Internal server error", "error_type": "internal_error"}'
    assert UUID.fullmatch(headers["x-fal-request-id"])
    assert headers["content-type"] == "application/json"
    assert half.endswith(b"half\r\n")  # cut off: no last chunk says that this was all
    log = (tmp_path / "stderr").read_text()
    assert log.count("ValueError: a secret in the traceback") == 2
    assert headers["x-fal-request-id"] in log


def test_a_client_that_left_is_not_an_error(tmp_path: Path) -> None:
    with edge_process(tmp_path) as child:
        with child.connect() as sock:
            sock.sendall(b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345")
        while "client_left" not in (tmp_path / "stderr").read_text():
            assert get(child, "/")[0] == 200
    assert "Traceback" not in (tmp_path / "stderr").read_text()


@pytest.mark.parametrize("path", ["/boom", "/"])
def test_middleware_also_stands_before_https(edge: EdgeProcess, strict: ssl.SSLContext, path: str) -> None:
    with edge.connect(1, strict) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert UUID.fullmatch(read_response(sock)[1]["x-fal-request-id"])
