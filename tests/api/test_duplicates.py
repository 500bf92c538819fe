"""A POST that is sent again because its reply was lost makes no second request; one that is meant again does."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cut_connections import (
    CUTS,
    close,
    held,
    lose_reply,
    receive,
    reset,
    rows,
    send,
    settle,
    stored,
    the_only,
    until,
)

from serving import APP, ENDPOINT, serving, small


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its one slot is taken for as long as the tests last: what is submitted waits."""
    settings = {"mock_slots": 1, "mock_seconds": 3600, "drain_seconds": 0, "lost_reply_seconds": 3600}
    with serving(tmp_path_factory.mktemp("duplicates"), **settings) as server:
        with server.client() as client:
            post(client, small(prompt="the one that runs"))
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture
def prompt(request):
    """Of this test alone, so that its requests can be told from the others'."""
    return request.node.name


def told(answer):
    """The id that is answered, and whether the answer says that the request was there before."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-fal-request-id"] == answer.json()["request_id"]
    return answer.json()["request_id"], answer.headers.get("idempotent-replayed") == "true"


def post(client, body, *, headers=None, params=None):
    return told(client.post(f"/queue/{ENDPOINT}", json=body, headers=headers, params=params))


@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["at once", "later"])
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_ten_posts_of_one_lost_reply_make_one_request(server, client, prompt, cut, pause):
    """At once: while the server still works at the reply that nobody will have. Later: when it is done with that."""
    body = small(prompt=prompt)
    for _ in range(9):
        lose_reply(server, client, body, cut)
        time.sleep(pause)
    id, repeated = post(client, body)
    assert repeated
    assert stored(server, prompt) == [id]
    assert post(client, body) != (id, True), "that reply was not lost"
    assert len(stored(server, prompt)) == 2


@pytest.mark.parametrize("cut", [close, reset])
def test_a_reply_is_lost_inside_tls_too(server, client, prompt, cut):
    body = small(prompt=prompt)
    for _ in range(3):
        lose_reply(server, client, body, cut, url=server.https)
    assert post(client, body) == (stored(server, prompt)[0], True)
    assert len(stored(server, prompt)) == 1
    for _ in range(2):
        with send(server, body, {"Connection": "close"}, url=server.https) as sock:
            assert told(receive(sock))[1] is False


def test_four_equal_requests_that_are_answered_are_four(server, client, prompt):
    body = small(prompt=prompt)
    answers = {post(client, body) for _ in range(4)}
    assert {id for id, _ in answers} == set(stored(server, prompt))
    assert len(answers) == 4
    assert not any(repeated for _, repeated in answers)


def test_four_at_once_are_four(server, client, prompt):
    body = small(prompt=prompt)
    with held(server):
        socks = [send(server, body) for _ in range(4)]
        settle(client)
    answers = {told(receive(sock)) for sock in socks}
    assert {id for id, _ in answers} == set(stored(server, prompt))
    assert len(answers) == 4
    for sock in socks:
        sock.close()


@pytest.mark.parametrize("ends", ["server closes", "client closes", "client resets"])
def test_who_has_the_reply_may_end_the_connection(server, client, prompt, ends):
    """However soon: with a reset some proxies end what they need no more."""
    body = small(prompt=prompt)
    lose_reply(server, client, body)  # from here on the server looks for a lost one
    assert post(client, body)[1]

    def post_often(_):
        for _ in range(15):
            with send(server, body, {"Connection": "close"} if ends == "server closes" else {}) as sock:
                assert told(receive(sock))[1] is False
                if ends == "client resets":
                    reset(sock)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(post_often, range(8)))
    assert len(stored(server, prompt)) == 121


def test_as_many_are_taken_over_as_were_lost(server, client, prompt):
    """Four at once, two of them cut. The two come again before anybody could note that they were cut."""
    body = small(prompt=prompt)
    with held(server):
        socks = [send(server, body) for _ in range(4)]
        settle(client)
        for sock in socks[:2]:
            sock.close()
        again = [send(server, body) for _ in range(2)]
        settle(client)
    first = [told(receive(sock)) for sock in socks[2:]]
    second = [told(receive(sock)) for sock in again]
    assert [repeated for _, repeated in (*first, *second)] == [False, False, True, True]
    assert {id for id, _ in (*first, *second)} == set(stored(server, prompt))
    assert len(stored(server, prompt)) == 4
    assert post(client, body)[1] is False
    for sock in (*socks, *again):
        sock.close()


def test_a_reply_is_lost_that_was_lost_again(server, client, prompt):
    """The POST that takes a request over is no less a POST."""
    body = small(prompt=prompt)
    with held(server):
        socks = [send(server, body)]
        for _ in range(5):
            settle(client)
            socks[-1].close()
            socks.append(send(server, body))
        settle(client)
    assert told(receive(socks[-1])) == (stored(server, prompt)[0], True)
    assert len(stored(server, prompt)) == 1
    socks[-1].close()


@pytest.mark.parametrize("again", ["before the reply", "after it"])
def test_a_reply_is_lost_that_has_a_request_behind_it(server, client, prompt, again):
    """Behind two requests at once the end of the connection lies unread: only the system knows of it."""
    body = small(prompt=prompt)
    with held(server):
        sock = send(server, body)
        settle(client)
        sock.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        settle(client)
        sock.close()
        if again == "before the reply":
            sock = send(server, body)
            settle(client)
    if again == "after it":
        the_only(server, prompt)
        time.sleep(0.05)
        sock = send(server, body)
    with sock:
        assert told(receive(sock)) == (the_only(server, prompt), True)


DIFFERENT = {
    "input": ({"seed": 5}, {}, {}),
    "priority": ({}, {"X-Fal-Queue-Priority": "low"}, {}),
    "deadline": ({}, {"X-Fal-Request-Timeout": "60"}, {}),
    "privacy": ({}, {"X-Fal-Store-IO": "0"}, {}),
    "webhook": ({}, {}, {"fal_webhook": "http://127.0.0.1:9/"}),
}


@pytest.mark.parametrize(("fields", "headers", "params"), DIFFERENT.values(), ids=DIFFERENT)
def test_another_request_is_another_request(server, client, prompt, fields, headers, params):
    lose_reply(server, client, small(prompt=prompt))
    lost = the_only(server, prompt)
    id, repeated = post(client, small(prompt=prompt, **fields), headers=headers, params=params)
    assert (id == lost, repeated) == (False, False)
    assert post(client, small(prompt=prompt)) == (lost, True)


def test_another_endpoint_is_another_request(server, client, prompt):
    body = small(prompt=prompt)
    lose_reply(server, client, body)
    answer = client.post("/queue/fal-ai/ltx-2.3/image-to-video", json=body)
    assert told(answer)[1] is False
    assert len(stored(server, prompt)) == 2


def test_input_that_can_never_run_is_taken_over_too(server, client, prompt):
    body = small(prompt=prompt, num_frames=1)
    lose_reply(server, client, body)
    id, repeated = post(client, body)
    assert repeated
    assert stored(server, prompt) == [id]
    assert client.get(f"/queue/{APP}/requests/{id}").status_code == 422


def test_the_limit_on_the_queue_is_not_for_what_waits_in_it(server, client, prompt):
    """The Python client repeats a POST that was answered 429."""
    body = small(prompt=prompt)
    lose_reply(server, client, body)
    assert post(client, body, params={"fal_max_queue_length": "0"}) == (stored(server, prompt)[0], True)


def test_a_video_of_the_other_api_is_found_again_too(server, client, prompt):
    body = {"model": ENDPOINT, "prompt": prompt, "image_url": small()["image_url"], "size": "64x64", "num_frames": 9}
    for _ in range(3):
        lose_reply(server, client, body, path="/openai/v1/videos", headers={"Content-Type": "application/json"})
    id = the_only(server, prompt)
    for repeated in (True, False):
        answer = client.post("/openai/v1/videos", json=body)
        assert answer.status_code == 200, answer.text
        assert (answer.headers.get("idempotent-replayed") == "true") is repeated
    assert stored(server, prompt)[0] == id
    assert len(stored(server, prompt)) == 2


def test_a_run_is_never_taken_over(mock_server, prompt):
    """It ended with its connection."""
    server, body = mock_server, small(prompt=prompt)
    with server.client() as client:
        lose_reply(server, client, body, path=f"/run/{ENDPOINT}")
    with send(server, body, path=f"/run/{ENDPOINT}") as sock:
        assert receive(sock).status_code == 200
    assert len(stored(server, prompt)) == 2
    states = rows(server, "SELECT state FROM requests WHERE id IN (?, ?)", *stored(server, prompt))
    assert sorted(states) == [("cancelled",), ("done",)]


def test_what_was_cancelled_is_not_taken_over(server, client, prompt):
    lose_reply(server, client, small(prompt=prompt))
    lost = the_only(server, prompt)
    assert client.put(f"/queue/{APP}/requests/{lost}/cancel").status_code == 202
    id, repeated = post(client, small(prompt=prompt))
    assert (id == lost, repeated) == (False, False)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_changes_nothing(server, prompt, how):
    """What was lost is still found, what was answered is still not."""
    answered, lost = small(prompt=f"{prompt} answered"), small(prompt=prompt)
    with server.client() as client:
        before = post(client, answered)[0]
        lose_reply(server, client, lost)
        id = the_only(server, prompt)
        # The note of an answer follows it by a moment, and how much a kill within that costs is told in the manual.
        query = "SELECT 1 FROM unanswered WHERE request_id = ?"
        until(lambda: not rows(server, query, before))
    getattr(server, how)()
    server.start()
    with server.client() as client:
        assert post(client, lost) == (id, True)
        assert post(client, answered)[0] != before
        assert post(client, lost)[1] is False


def test_a_lost_reply_is_waited_for_as_long_as_the_setting_says(tmp_path, prompt):
    body = small(prompt=prompt)
    with serving(tmp_path, lost_reply_seconds=0.2) as server:
        with server.client() as client:
            lose_reply(server, client, body)
            the_only(server, prompt)
            time.sleep(0.3)
            assert post(client, body)[1] is False
        server.kill()
        server.start()
        assert rows(server, "SELECT * FROM unanswered") == [], "nothing is kept of what is over"


def test_without_the_setting_every_submit_is_a_request(tmp_path, prompt):
    with serving(tmp_path, lost_reply_seconds=0) as server, server.client() as client:
        lose_reply(server, client, small(prompt=prompt))
        the_only(server, prompt)
        assert post(client, small(prompt=prompt))[1] is False
        assert rows(server, "SELECT * FROM unanswered") == []
