"""Runs edge_app.py and talks to it with raw sockets."""

import json
import queue
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

APP = Path(__file__).with_name("edge_app.py")
PATIENCE = 20.0  # seconds; a bound for hangs, not an expectation


@dataclass
class EdgeProcess:
    process: subprocess.Popen[str]
    reports: "queue.Queue[dict[str, Any]]"
    marker: Path
    urls: list[str]
    loop: str

    def address(self, index: int = 0) -> tuple[str, int]:
        parts = urlsplit(self.urls[index])
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    def connect(self, index: int = 0, tls: ssl.SSLContext | None = None) -> socket.socket:
        sock = socket.create_connection(self.address(index), timeout=PATIENCE)
        return tls.wrap_socket(sock, server_hostname="localhost") if tls else sock

    def wait_until_gone(self, client: tuple[str, int]) -> None:
        """Until the server's end of a client's connection is closed, which a client that does not read cannot see."""
        server, end = psutil.Process(self.process.pid), time.monotonic() + PATIENCE
        while any(each.raddr == client for each in server.net_connections("tcp")):
            assert time.monotonic() < end
            time.sleep(0.05)

    def wait_for(self, event: str) -> dict[str, Any]:
        while (said := self.reports.get(timeout=PATIENCE))["event"] != event:
            pass
        return said


@contextmanager
def edge_process(folder: Path, **options: Any) -> Iterator[EdgeProcess]:
    marker = folder / "marker"
    command = [sys.executable, str(APP), json.dumps({"marker": str(marker), **options})]
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    reports: queue.Queue[dict[str, Any]] = queue.Queue()
    assert process.stdout
    reader = threading.Thread(target=_collect, args=(process.stdout, reports))
    reader.start()
    try:
        child = EdgeProcess(process, reports, marker, [], "")
        try:
            ready = child.wait_for("ready")
        except queue.Empty:
            raise AssertionError((folder / "stderr").read_text()) from None
        child.urls, child.loop = ready["urls"], ready["loop"]
        yield child
    finally:
        process.kill()
        process.wait(PATIENCE)
        reader.join(PATIENCE)
        process.stdout.close()


def _collect(lines: Iterable[str], reports: "queue.Queue[dict[str, Any]]") -> None:
    for line in lines:
        reports.put(json.loads(line))


def read_to_end(sock: socket.socket) -> bytes:
    """Everything until the server closes; a reset counts as closing. A server that does not close fails the test."""
    received = b""
    while True:
        try:
            data = sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return received
        if not data:
            return received
        received += data


def read_response(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One response: status, headers, body (by Content-Length or chunks)."""
    with sock.makefile("rb", buffering=0) as file:
        status = int(file.readline().split()[1])
        headers: dict[str, str] = {}
        while line := file.readline().strip().decode("latin-1"):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = b""
        if "content-length" in headers:
            while len(body) < int(headers["content-length"]):
                body += file.read(int(headers["content-length"]) - len(body)) or b""
        elif headers.get("transfer-encoding") == "chunked":
            while size := int(file.readline(), 16):
                chunk = b""
                while len(chunk) < size + 2:
                    chunk += file.read(size + 2 - len(chunk)) or b""
                body += chunk[:-2]
            file.readline()
        return status, headers, body


def statuses(answer: bytes) -> list[int]:
    """The status of every response in raw bytes."""
    return [int(code) for code in re.findall(rb"(?:^|\n|})HTTP/1\.1 (\d{3}) ", answer)]


def ask(child: EdgeProcess, request: bytes, index: int = 0, tls: ssl.SSLContext | None = None) -> bytes:
    """Sends raw bytes and returns what comes until the server closes."""
    with child.connect(index, tls) as sock:
        sock.sendall(request)
        return read_to_end(sock)
