"""A reply that is lost because its server was killed: what is sent again then is the request that was stored."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from serving import ENDPOINT, Server, small

PROGRAM = Path(__file__).with_name("dies_before_reply.py")


class DyingServer(Server):
    def __init__(self, data: Path, **settings: object) -> None:
        super().__init__(data, **settings)
        self._command = [sys.executable, str(PROGRAM), "--data", str(data)]


def stored(server: Server) -> list[str]:
    with closing(sqlite3.connect(f"file:{server.data / 'stillmotion.db'}?mode=ro", uri=True)) as database:
        return [id for (id,) in database.execute("SELECT id FROM requests ORDER BY seq")]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "mine"}], ids=["without a key", "with a key"])
def test_a_server_that_is_killed_before_its_reply_makes_one_request(tmp_path, headers):
    server, trap = DyingServer(tmp_path, mock_seconds=0.05, lost_reply_seconds=3600), tmp_path / "die"

    def post(**fields: object) -> httpx2.Response:
        with server.client() as client:
            return client.post(f"/queue/{ENDPOINT}", json=small(**fields), headers=headers)

    try:
        trap.touch()
        for _ in range(2):
            server.start()
            with pytest.raises(httpx2.TransportError):
                post()
            assert server.process
            assert server.process.wait(20) == -9
        assert len(stored(server)) == 1
        trap.unlink()
        server.start()
        answer = post()
        assert answer.json()["request_id"] == stored(server)[0]
        assert answer.headers["idempotent-replayed"] == "true"
        # Only with the key is the next one the same too.
        assert (post().json()["request_id"] == stored(server)[0]) == bool(headers)
    finally:
        if server.process and server.process.poll() is None:
            server.kill()
