"""A real server in a process of its own, for tests that go through the front door."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import psutil
from PIL import Image

ENDPOINT = "fal-ai/ltx-2-19b/image-to-video"
APP = "fal-ai/ltx-2-19b"
START_SECONDS = 60


def picture(width: int = 96, height: int = 64, *, format: str = "PNG") -> bytes:
    """A small picture with detail everywhere, so that any crop of it moves."""
    image = Image.radial_gradient("L").resize((width, height))
    stream = BytesIO()
    Image.merge("RGB", (image, image.transpose(Image.Transpose.ROTATE_180), image.point(lambda v: 255 - v))).save(
        stream, format
    )
    return stream.getvalue()


def data_uri(content: bytes, type: str = "image/png") -> str:
    return f"data:{type};base64,{base64.b64encode(content).decode()}"


def small(**fields: Any) -> dict[str, Any]:
    """Arguments of the smallest request."""
    return {
        "prompt": "a test",
        "image_url": data_uri(picture()),
        "video_size": {"width": 64, "height": 64},
        "num_frames": 9,
        "num_inference_steps": 8,
        **fields,
    }


class Server:
    """``stillmotion serve`` on ``data``; ``http`` and ``https`` are its URLs while it runs."""

    def __init__(self, data: Path, *, engine: str = "mock", **settings: Any) -> None:
        self.data = data
        self.log = data / "server.log"
        self._command = [sys.executable, "-m", "stillmotion", "serve", "--data", str(data), "--engine", engine]
        self._settings = {f"STILLMOTION_{name.upper()}": str(value) for name, value in settings.items()}
        self._ports = ("0", "0")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        self.data.mkdir(parents=True, exist_ok=True)
        ports = ["--port", self._ports[0], *(["--tls-port", self._ports[1]] if self._ports[1] != "0" else [])]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._command, *ports], env=clean_environment(self._settings), stdout=log, stderr=log
            )
        end = time.monotonic() + START_SECONDS
        state: dict[str, Any] = {}
        while state.get("pid") != self.process.pid:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "the server did not start: " + self.log.read_text()
            time.sleep(0.02)
            try:
                state = json.loads((self.data / "server.json").read_text())
            except (FileNotFoundError, ValueError):
                continue
        self.http, self.https = state["http"], state["https"]
        # A restarted server must answer under the URLs that its clients hold.
        self._ports = (self.http.rpartition(":")[2], self.https.rpartition(":")[2])
        return self

    def stop(self) -> int:
        assert self.process
        self.process.terminate()
        return self.process.wait(20)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait(20)

    def engine_pids(self) -> list[int]:
        """The processes that hold a model."""
        assert self.process
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child.pid for child in children if "stillmotion.executor.host" in child.cmdline()]

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.http, timeout=30, trust_env=False, **options)

    def environment(self) -> dict[str, str]:
        """What ``client-env`` prints, as a shell would take it."""
        command = [sys.executable, "-m", "stillmotion", "client-env", "--data", str(self.data)]
        printed = subprocess.run(
            command, env=clean_environment(), capture_output=True, text=True, check=True, timeout=30
        ).stdout
        script = f"{printed}\nenv -0"
        shown = subprocess.run(
            ["bash", "-c", script], env=clean_environment(), capture_output=True, check=True, timeout=30
        )
        return dict(item.split("=", 1) for item in shown.stdout.decode().split("\0") if "=" in item)

    def run_client(self, program: str, *arguments: str, timeout: float = 60) -> Any:
        """Runs a Python program that uses fal's client unchanged; returns the JSON that it prints last."""
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def serving(data: Path, **settings: Any) -> Iterator[Server]:
    server = Server(data, **settings).start()
    try:
        yield server
    finally:
        if server.process and server.process.poll() is None:
            server.process.send_signal(signal.SIGKILL)
            server.process.wait(20)


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that a developer's shell may have set for us or for fal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STILLMOTION_", "FAL_"))}
    return {**kept, **(more or {})}


def submit(client: httpx2.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(f"/queue/{ENDPOINT}", json=small(**fields))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def wait(client: httpx2.Client, request: Mapping[str, Any], *, seconds: float = 60) -> dict[str, Any]:
    """The status of a request once it is completed."""
    end = time.monotonic() + seconds
    while (answer := client.get(request["status_url"], params={"logs": "true"})).status_code != 200:
        assert answer.status_code == 202, answer.text
        assert time.monotonic() < end, answer.text
        time.sleep(0.03)
    body: dict[str, Any] = answer.json()
    return body
