"""``stillmotion exec`` and the world outside: fixtures, proxies that were there before, and that nothing leaks."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from requirements import need_package, need_program
from serving import ENDPOINT, clean_environment, picture, serving, small

AUDITED = """
import json, sys
talked = []
def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        talked.append(arguments[1][0])
    elif event == "socket.getaddrinfo":
        talked.append(arguments[0])
sys.addaudithook(watch)
import fal_client
"""
"""A program that keeps a list of whom it talks to, whichever library does it."""

TWO_PICTURES = f"""{AUDITED}
def size(url):
    arguments = {{**json.loads({json.dumps(json.dumps(small()))}), "video_size": "auto", "image_url": url}}
    video = fal_client.subscribe({ENDPOINT!r}, arguments)["video"]
    return [video["width"], video["height"]]
print(json.dumps([size("https://pictures.example.com/known.png"), size("https://pictures.example.com/other.png")]))
"""

CUT_OFF = f"""{AUDITED}
import os, signal
arguments = json.loads({json.dumps(json.dumps(small()))})
client = fal_client.SyncClient(default_timeout=5)
handle = client.submit({ENDPOINT!r}, arguments)
os.kill(int(sys.argv[1]), signal.SIGKILL)
outcomes = []
def enough(*_):
    raise TimeoutError
# The client would go on for minutes; all its names are asked in the first try.
signal.signal(signal.SIGALRM, enough)
for call in (
    handle.status,
    lambda: client.submit({ENDPOINT!r}, arguments),
    lambda: client.upload(b"x", "text/plain"),
):
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    try:
        outcomes.append(repr(call()))
    except Exception as error:
        outcomes.append(type(error).__name__)
    signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps([outcomes, sorted({{name.decode() if isinstance(name, bytes) else name for name in talked}})]))
"""


class Upstream:
    """A proxy that somebody had before: it records what it is asked for, and connects to where the test says."""

    def __init__(self, listener: socket.socket, target: tuple[str, int] | None) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self._listener, self._target = listener, target
        self.port = listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with near, near.makefile("rb") as reader:
                near.settimeout(20)
                first = reader.readline().decode().split(" ")
                headers = dict(line.split(": ", 1) for line in iter(lambda: reader.readline().decode().strip(), ""))
                self.asked.append((" ".join(first[:2]), headers.get("Proxy-Authorization")))
                if self._target is None:
                    near.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                    continue
                near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                reader.readline()
                near.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nelsewhere")


@pytest.fixture
def upstream(request: pytest.FixtureRequest) -> Iterator[Upstream]:
    """Refuses every tunnel, or with the parameter ``True`` answers inside each by itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Upstream(listener, ("", 0) if getattr(request, "param", False) else None)
        thread = threading.Thread(target=found.serve, daemon=True)
        thread.start()
        yield found
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


def execute(*command: str, options: tuple[str, ...], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stillmotion", "exec", *options, "--", *command],
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_offline_with_fixtures(tmp_path, upstream):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    (tmp_path / "known.png").write_bytes(picture(640, 480))
    (tmp_path / "fixtures.toml").write_text('[fixtures]\n"https://pictures.example.com/known.*" = "known.png"\n')
    options = ("--engine", "mock", "--offline", "--fixtures", os.path.relpath(tmp_path / "fixtures.toml"))
    done = execute(
        sys.executable,
        "-c",
        TWO_PICTURES,
        options=options,
        HTTPS_PROXY=f"http://127.0.0.1:{upstream.port}",
        STILLMOTION_MOCK_SECONDS="0.05",
        STILLMOTION_TLS_PORT="0",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [[1056, 800], [1248, 704]]
    assert upstream.asked == []


def test_offline_other_names_are_refused(tmp_path, upstream):
    need_program("curl")
    script = "curl -sS -o /dev/null -w '%{http_connect}' https://pictures.example.com/; true"
    done = execute(
        "sh",
        "-c",
        script,
        options=("--engine", "mock", "--offline"),
        HTTPS_PROXY=f"http://127.0.0.1:{upstream.port}",
    )
    assert done.stdout == "403"
    assert upstream.asked == []


def test_a_server_that_stops_in_the_middle_leaks_nothing(tmp_path, upstream):
    """The Python client has a second pair of names for when the first do not answer; those are served here too."""
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    with serving(tmp_path / "data", mock_seconds=20) as server:
        done = execute(
            sys.executable,
            "-c",
            CUT_OFF,
            str(server.process.pid),
            options=("--url", server.https, "--data", str(server.data)),
            HTTPS_PROXY=f"http://127.0.0.1:{upstream.port}",
        )
    assert (done.returncode, done.stderr) == (0, "")
    outcomes, talked = json.loads(done.stdout)
    assert all(outcome.endswith("Error") for outcome in outcomes), outcomes
    assert talked == ["127.0.0.1"]
    assert upstream.asked == []


@pytest.mark.parametrize("upstream", [True], indirect=True)
def test_other_names_go_on_through_the_proxy_that_was_there(tmp_path, upstream):
    need_program("curl")
    with serving(tmp_path / "data") as server:
        options = ("--url", server.https, "--data", str(server.data))
        # Plain http, so that the tunnel's far end needs no certificate.
        script = (
            "curl -sS --proxytunnel --proxy $HTTPS_PROXY http://pictures.example.com/a;"
            "curl -sS https://queue.fal.run/fal-ai/ltx-2/requests/none/status"
        )
        done = execute("sh", "-c", script, options=options, HTTPS_PROXY=f"http://me:p%40ss@127.0.0.1:{upstream.port}")
    assert done.stdout == 'elsewhere{"status":"NOT_FOUND"}', done.stderr
    credentials = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert upstream.asked == [("CONNECT pictures.example.com:80", credentials)]


@pytest.mark.parametrize("options", [("--offline",), ("--fixtures", "x.toml")])
def test_a_running_server_has_its_own_settings(options):
    done = execute("true", options=("--url", "https://localhost:1", *options))
    assert done.returncode == 1
    assert "private server" in done.stderr


def test_what_cannot_be_is_told(tmp_path):
    done = execute("true", options=("--engine", "mock"), HTTPS_PROXY="socks5://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "HTTPS_PROXY" in done.stderr
    done = execute("true", options=("--engine", "mock", "--fixtures", str(tmp_path / "none.toml")))
    assert done.returncode == 1
    assert "none.toml" in done.stderr


def test_settings_and_rules_of_the_working_directory_hold(tmp_path):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    (tmp_path / "stillmotion.toml").write_text(
        'engine = "mock"\noffline = true\nmock_seconds = 0.05\n'
        '[[rules]]\naction = "content_policy"\nmatch = { prompt = "forbidden" }\n'
    )
    program = (
        "import fal_client\n"
        "try:\n"
        f"    fal_client.run({ENDPOINT!r}, {{'prompt': 'forbidden', 'image_url': 'https://a.example/b.png'}})\n"
        "except fal_client.FalClientHTTPError as error:\n"
        "    print(error.status_code, error.response.json()['detail'][0]['type'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "stillmotion", "exec", "--", sys.executable, "-c", program],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("422 content_policy_violation\n", "")
    assert Path(tmp_path / "stillmotion.toml").exists()
