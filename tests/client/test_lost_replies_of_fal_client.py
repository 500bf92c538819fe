"""fal's Python client, unchanged, whose replies are lost on the way: it sends its POST ten times for one request."""

import json
import os
import select
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from requirements import need_package
from serving import ENDPOINT, serving, small

PROGRAM = """
import json, sys, fal_client
from fal_client import client
client.BASE_DELAY, client.MAX_DELAY = 0.01, 0.05  # for the sake of the test's time
print(json.dumps([fal_client.submit(sys.argv[1], json.loads(sys.argv[2])).request_id for _ in range(2)]))
"""
CUTS = 9
QUIET_SECONDS = 0.2


class CuttingRelay(threading.Thread):
    """Carries TCP connections to ``target``; cuts the first nine when the client waits for its reply, which the
    server cannot give before that, because it cannot commit."""

    def __init__(self, target: tuple[str, int], database: str) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._database = database
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0

    def run(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with near, closing(socket.create_connection(self._target)) as far:
                if self.connections > CUTS:
                    carry(near, far, None)
                    continue
                with closing(sqlite3.connect(self._database, isolation_level=None, timeout=20)) as database:
                    database.execute("BEGIN IMMEDIATE")
                    carry(near, far, QUIET_SECONDS)
                    far.close()
                    near.close()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join(20)
        assert not self.is_alive()


def carry(near: socket.socket, far: socket.socket, quiet: float | None) -> None:
    """Until one side ends, or nobody says anything for ``quiet`` seconds."""
    while readable := select.select([near, far], [], [], quiet)[0]:
        for source in readable:
            try:
                data = source.recv(65536)
            except ConnectionError:
                return
            if not data:
                return
            (far if source is near else near).sendall(data)


@pytest.mark.parametrize("rule", [True, False], ids=["with the rule", "without it"])
def test_ten_posts_of_the_client_are_one_request(tmp_path, rule):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    with serving(tmp_path, mock_seconds=0.05, lost_reply_seconds=600 if rule else 0) as server:
        database = str(server.data / "stillmotion.db")
        address = urlsplit(server.https)
        relay = CuttingRelay((address.hostname, address.port), database)
        relay.start()
        try:
            environment = {
                name: value.replace(f"localhost:{address.port}", f"localhost:{relay.port}")
                for name, value in server.environment().items()
            }
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, ENDPOINT, json.dumps(small())],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            relay.stop()
        assert done.returncode == 0, done.stderr
        with closing(sqlite3.connect(database)) as reading:
            stored = [id for (id,) in reading.execute("SELECT id FROM requests ORDER BY seq")]
        assert relay.connections > CUTS
        ids = json.loads(done.stdout)
        # Both programs mean two requests. That the client does send ten times, the second case shows.
        assert ids == [stored[0 if rule else CUTS], stored[-1]]
        assert len(stored) == (2 if rule else CUTS + 2)
