"""No event is lost, whenever the server dies: between the commit and the delivery, in the middle of one, anywhere."""

import random
import secrets
import sqlite3
import threading
import time

from webhook_client import Webhooks
from webhook_receiver import until, verify

from serving import Server, serving
from stillmotion.service.webhook_delivery import PER_HOST

KILLS = 3
"""Of the last test; each costs a start of the server, 1.2 s."""


def rows(server: Server) -> dict[str, tuple[str, str]]:
    """States of request and webhook by the request's id, read from the database of a dead server."""
    connection = sqlite3.connect(server.data / "stillmotion.db")
    try:
        found = connection.execute(
            "SELECT r.id, r.state, w.state FROM requests r JOIN webhooks w ON w.request_id = r.id"
        ).fetchall()
    finally:
        connection.close()
    return {id: (request, webhook) for id, request, webhook in found}


def test_a_kill_loses_neither_what_waits_nor_what_is_under_way(tmp_path, receiver):
    receiver.held["/hook"] = threading.Event()
    with serving(tmp_path, mock_seconds=0.02) as server:
        with server.client() as client:
            ids = [Webhooks(client).submit(f"{receiver.url}/hook") for _ in range(PER_HOST + 4)]
            until(lambda: receiver.holding == PER_HOST, "deliveries under way")
            webhooks = Webhooks(client)
            until(lambda: all(webhooks.log(id)["state"] == "pending" for id in ids), "the end of all requests")
        server.kill()
        assert set(rows(server).values()) == {("done", "pending")}
        assert receiver.received == []
        # The held ones go on here, but who asked is dead.
        receiver.held["/hook"].set()
        until(lambda: receiver.holding == 0, "the end of what was held")
        cut_off = [each.told["request_id"] for each in receiver.received]
        receiver.received.clear()
        server.start()
        with server.client() as client:
            webhooks = Webhooks(client)
            for id in ids:
                assert all(verify(each, webhooks.keys()) for each in receiver.wait(id))
                until(lambda id=id: webhooks.log(id)["state"] == "delivered", "the end of a delivery")
                words = [each["status"] or each["error"] for each in webhooks.log(id)["deliveries"]]
                assert words == (["interrupted", 200] if id in cut_off else [200])
        assert len(cut_off) == PER_HOST
        assert server.stop() == 0


def test_a_server_that_is_told_to_stop_finishes_the_delivery_under_way(tmp_path, receiver):
    receiver.held["/hook"] = threading.Event()
    with serving(tmp_path, mock_seconds=0.02) as server:
        with server.client() as client:
            id = Webhooks(client).submit(f"{receiver.url}/hook")
            until(lambda: receiver.holding == 1, "a delivery under way")
        assert server.process
        server.process.terminate()
        threading.Timer(0.5, receiver.held["/hook"].set).start()
        assert server.process.wait(20) == 0
        assert rows(server)[id] == ("done", "delivered")
        assert len(receiver.of(id)) == 1


def test_kills_at_random_moments_lose_no_event(tmp_path, receiver):
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # pytest shows it when the test fails
    chance = random.Random(seed)
    receiver.answers["/hook"] = [503, 200, 500] * 10 + [200]
    ids: list[str] = []
    with serving(tmp_path, mock_seconds=0.02, webhook_seconds=0.02) as server:
        for _ in range(KILLS):
            with server.client() as client:
                for _ in range(4):
                    ids.append(Webhooks(client).submit(f"{receiver.url}/hook", num_frames=chance.choice([3, 9, 9])))
                time.sleep(chance.uniform(0, 0.25))
            server.kill()
            for request, webhook in rows(server).values():
                assert (request in ("queued", "running")) == (webhook == "waiting")
            server.start()
        with server.client() as client:
            webhooks = Webhooks(client)
            for id in ids:
                until(lambda id=id: webhooks.log(id)["state"] == "delivered", f"the delivery of {id}")
                assert all(verify(each, webhooks.keys()) for each in receiver.of(id))
                assert len({each.body for each in receiver.of(id)}) == 1, "every delivery tells the same"
        assert server.stop() == 0
        assert set(rows(server)) == set(ids)
