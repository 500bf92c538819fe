"""``stillmotion exec``: programs that know nothing of this project, in three languages, and the shell's manners."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from requirements import need_package, need_program
from serving import clean_environment, data_uri, picture, serving

ENDPOINT = "fal-ai/ltx-2-19b/image-to-video"
ARGUMENTS = {
    "prompt": "x",
    "image_url": data_uri(picture()),
    "video_size": {"width": 64, "height": 64},
    "num_frames": 9,
}

PYTHON = f"""
import json, fal_client
arguments = json.loads({json.dumps(json.dumps(ARGUMENTS))})
handle = fal_client.submit({ENDPOINT!r}, arguments)
print(json.dumps([handle.response_url, handle.get(), fal_client.run({ENDPOINT!r}, arguments)]))
"""
NODE = f"""
const send = (host) => fetch(`https://${{host}}/{ENDPOINT}`, {{
  method: "POST", headers: {{ "content-type": "application/json" }}, body: JSON.stringify({json.dumps(ARGUMENTS)}),
}});
const submitted = await (await send("queue.fal.run")).json();
const result = await (await send("fal.run")).json();
const file = await fetch(result.video.url);
console.log(JSON.stringify([submitted.response_url, result, file.status, (await file.arrayBuffer()).byteLength]));
"""


def execute(
    *command: str, options: tuple[str, ...] = ("--engine", "mock"), **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stillmotion", "exec", *options, "--", *command],
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("exec"), mock_seconds=0.1) as server:
        yield server


@pytest.fixture
def on_server(server):
    """Options for a server that runs already: most of this file needs no private one."""
    return ("--url", server.https, "--data", str(server.data))


def test_python_on_a_private_server_that_ends_with_it(tmp_path):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    done = execute(sys.executable, "-c", PYTHON, TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    response_url, queued, direct = json.loads(done.stdout)
    assert response_url.startswith("https://queue.fal.run/fal-ai/ltx-2-19b/requests/")
    for result in (queued, direct):
        assert result["video"]["url"].startswith("https://v3.fal.media/files/")
        assert (result["video"]["width"], result["video"]["num_frames"]) == (64, 9)
    assert not _processes_of(tmp_path)
    assert not list(tmp_path.glob("stillmotion-exec-*"))


def test_the_private_server_ends_with_an_exec_that_was_killed(tmp_path):
    command = [sys.executable, "-m", "stillmotion", "exec", "--engine", "mock", "--"]
    # The program ends when the test closes its standard input.
    command += [sys.executable, "-c", "import sys; print('runs', flush=True); sys.stdin.read()"]
    environment = clean_environment({"TMPDIR": str(tmp_path)})
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout.readline() == "runs\n"
        server = _processes_of(tmp_path)
        assert server
        running.kill()
    assert psutil.wait_procs(server, timeout=60)[1] == []


def _processes_of(folder: Path) -> list[psutil.Process]:
    """Servers, and their children, whose data is there."""
    return [
        each for each in psutil.process_iter(["cmdline"]) if f"{folder}/stillmotion-exec-" in str(each.info["cmdline"])
    ]


def test_node_with_nothing_but_its_own_fetch(on_server):
    need_program("node")
    done = execute("node", "--input-type=module", "-e", NODE, options=on_server)
    assert (done.returncode, done.stderr) == (0, "")
    response_url, result, status, size = json.loads(done.stdout)
    assert response_url.startswith("https://queue.fal.run/fal-ai/ltx-2-19b/requests/")
    assert (status, size) == (200, result["video"]["file_size"])


def test_curl(on_server):
    need_program("curl")
    done = execute("curl", "-sS", "https://queue.fal.run/fal-ai/ltx-2/requests/none/status", options=on_server)
    assert (done.returncode, done.stdout) == (0, '{"status":"NOT_FOUND"}'), done.stderr


def test_the_exit_code_is_the_programs_own(on_server):
    assert execute(sys.executable, "-c", "raise SystemExit(7)", options=on_server).returncode == 7
    assert execute("sh", "-c", "kill -KILL $$", options=on_server).returncode == 128 + signal.SIGKILL
    missing = execute("no-such-program", options=on_server)
    assert (missing.returncode, missing.stderr) == (127, "stillmotion: no-such-program: command not found\n")
    assert execute("/", options=on_server).returncode == 126


def test_a_signal_reaches_the_program(on_server, tmp_path):
    program = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-m", "stillmotion", "exec", *on_server, "--", sys.executable, "-c", program]
    running = subprocess.Popen(command, env=clean_environment())
    for _ in range(600):
        if (tmp_path / "ready").exists():
            break
        threading.Event().wait(0.05)
    running.terminate()
    assert running.wait(30) == 5


class _Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.path} for {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """Some other server, which is none of ours."""
    with HTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_everything_else_goes_where_it_was_meant_to(on_server, elsewhere):
    need_program("curl")
    asked = f"http://127.0.0.1:{elsewhere}/a/b?c=d"
    for tunnel in ("--proxytunnel", "--no-progress-meter"):
        # Curl keeps to NO_PROXY unless it is told a proxy itself.
        script = f"curl -sS {tunnel} --noproxy '' --proxy $HTTPS_PROXY '{asked}'"
        done = execute("sh", "-c", script, options=on_server)
        assert done.stdout == f"/a/b?c=d for 127.0.0.1:{elsewhere}", done.stderr


def environment_under_exec(options: tuple[str, ...], **inherited: str) -> Mapping[str, str]:
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    return json.loads(execute(sys.executable, "-c", program, options=options, **inherited).stdout)


def test_what_was_set_before_is_kept_where_it_does_not_defeat_the_purpose(on_server, tmp_path):
    roots, extra = tmp_path / "roots.pem", tmp_path / "extra.pem"
    roots.write_text("# my roots\n")
    extra.write_text("# my extra\n")
    found = environment_under_exec(
        on_server,
        FAL_KEY="me:secret",
        NO_PROXY="intranet.example,.fal.run,fal.ai,*",
        FAL_RUN_HOST="elsewhere.example",
        SSL_CERT_FILE=str(roots),
        SSL_CERT_DIR="/etc/ssl/certs",
        NODE_EXTRA_CA_CERTS=str(extra),
        NODE_OPTIONS="--no-warnings",
    )
    assert found["FAL_KEY"] == "me:secret"
    assert found["NO_PROXY"] == found["no_proxy"] == "intranet.example,localhost,127.0.0.1,::1"
    assert not {"FAL_RUN_HOST", "SSL_CERT_DIR"} & found.keys()
    assert found["SSL_CERT_FILE"] == found["REQUESTS_CA_BUNDLE"] == found["CURL_CA_BUNDLE"]
    assert found["NODE_OPTIONS"].startswith("--no-warnings --require ")
    # The files lie in a folder that ends with the program, so they are looked at from inside.
    show = "cat $SSL_CERT_FILE; echo ====; cat $NODE_EXTRA_CA_CERTS"
    told = execute("sh", "-c", show, options=on_server, SSL_CERT_FILE=str(roots), NODE_EXTRA_CA_CERTS=str(extra)).stdout
    bundle, node = told.split("====")
    for text, mine in ((bundle, "# my roots"), (node, "# my extra")):
        assert mine in text
        assert text.count("BEGIN CERTIFICATE") == 1


def test_pythons_own_customisation_is_still_loaded(on_server, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.customised = __name__\n")
    program = "import socket, sitecustomize; print(customised, sitecustomize.__file__)"
    done = execute(sys.executable, "-c", program, options=on_server, PYTHONPATH=str(tmp_path))
    assert done.stdout.split() == ["sitecustomize", str(tmp_path / "sitecustomize.py")], done.stderr


def test_names_that_are_not_fals_are_looked_up_as_ever(on_server, elsewhere):
    program = f"""
import http.client, socket
connection = http.client.HTTPConnection("localhost", {elsewhere})
connection.request("GET", "/a")
print(connection.getresponse().read().decode())
print(socket.gethostbyname("localhost"), socket.getaddrinfo("127.0.0.1", 1)[0][4], socket.gethostbyname("ws.fal.run"))
"""
    done = execute(sys.executable, "-c", program, options=on_server)
    told = [f"/a for localhost:{elsewhere}", "127.0.0.1 ('127.0.0.1', 1) 127.102.97.108"]
    assert done.stdout.splitlines() == told, done.stderr


def test_a_key_is_made_up_where_there_is_none(on_server):
    assert "FAL_KEY" not in os.environ
    assert environment_under_exec(on_server)["FAL_KEY"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--url", "http://localhost:1"), "https"),
        (("--engine", "mock", "--url", "https://localhost:1"), "--engine"),
        (("--engine", "steam"), "did not start"),
    ],
)
def test_what_cannot_be_is_told(options, told):
    done = execute("true", options=options)
    assert done.returncode == 1
    assert told in done.stderr


def test_no_command():
    done = subprocess.run(
        [sys.executable, "-m", "stillmotion", "exec"], env=clean_environment(), capture_output=True, timeout=30
    )
    assert done.returncode == 2


def test_the_preloads_are_shipped():
    from stillmotion.cli.surroundings import PRELOAD, PYTHON_PRELOAD

    assert Path(PRELOAD).is_file()
    assert Path(PYTHON_PRELOAD, "sitecustomize.py").is_file()
