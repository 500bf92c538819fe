"""A submit with an Idempotency-Key makes one request, however often and from how many places it is sent."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cut_connections import close, held, lose_reply, receive, request_bytes, rows, send, settle, stored, the_only, until

from serving import ENDPOINT, serving, small

QUEUE, RUN = f"/queue/{ENDPOINT}", f"/run/{ENDPOINT}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("idempotency"), mock_seconds=0.05) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture
def prompt(request):
    """Of this test alone; its name is the key too."""
    return request.node.name


def post(client, body, key, path=QUEUE, **options):
    return client.post(path, json=body, headers={"Idempotency-Key": key}, **options)


def told(answer):
    assert answer.status_code == 200, answer.text
    return answer.headers["x-fal-request-id"], answer.headers.get("idempotent-replayed")


def test_the_same_key_is_the_same_request(server, client, prompt):
    body = small(prompt=prompt)
    first, *others = [post(client, body, prompt) for _ in range(3)]
    id = first.json()["request_id"]
    assert told(first) == (id, None)
    assert [told(other) for other in others] == [(id, "true")] * 2
    assert [{**each.json(), "queue_position": 0} for each in others] == [{**first.json(), "queue_position": 0}] * 2
    assert stored(server, prompt) == [id]
    assert told(client.post(QUEUE, json=body))[0] != id, "without the key it is another request"
    # The order of the fields is no difference, and neither is how it is to be handled.
    turned = dict(reversed(body.items()))
    headers = {"Idempotency-Key": prompt, "X-Fal-Queue-Priority": "low"}
    assert told(client.post(QUEUE, json=turned, headers=headers)) == (id, "true")


def test_twenty_at_once_are_one(server, client, prompt):
    body = small(prompt=prompt)
    with held(server):
        socks = [send(server, body, {"Idempotency-Key": prompt}) for _ in range(20)]
        settle(client)
    answers = [told(receive(sock)) for sock in socks]
    for sock in socks:
        sock.close()
    assert {id for id, _ in answers} == set(stored(server, prompt))
    assert [told for _, told in answers].count(None) == len(stored(server, prompt)) == 1


def test_the_same_key_with_anything_else_is_refused(server, client, prompt):
    id, _ = told(post(client, small(prompt=prompt), prompt))
    for answer in (
        post(client, small(prompt=prompt, seed=4), prompt),
        post(client, small(prompt=prompt), prompt, "/queue/fal-ai/ltx-2.3/image-to-video"),
        post(client, small(prompt=prompt), prompt, params={"fal_webhook": "http://127.0.0.1:9/"}),
    ):
        assert answer.status_code == 422
        assert answer.json()["error_type"] == answer.headers["x-fal-error-type"] == "idempotency_key_reused"
        assert answer.json()["detail"] == answer.json()["message"]
        assert answer.headers["x-fal-retryable"] == "false"
    assert stored(server, prompt) == [id]
    assert told(post(client, small(prompt=prompt), prompt)) == (id, "true")


@pytest.mark.parametrize("key", ["x", "inside it", '"8e03978e-40d5-43e8-bc93-6894a57f9324"', "~" * 255])
def test_any_printable_text_is_a_key(client, prompt, key):
    body = small(prompt=prompt)
    assert told(post(client, body, key))[0] == told(post(client, body, key))[0]


@pytest.mark.parametrize("keys", [[""], ["x" * 256], ["caf\xe9"], ["a\tb"], ["a", "a"]])
def test_what_is_no_key_is_refused(server, client, prompt, keys):
    head = b"".join(f"Idempotency-Key: {key}\r\n".encode("latin-1") for key in keys)
    plain = request_bytes(server, small(prompt=prompt))
    with send(server, {}) as sock:
        told(receive(sock))
        sock.sendall(plain.replace(b"\r\n", b"\r\n" + head, 1))
        answer = receive(sock)
    assert answer.status_code == 400
    assert answer.json()["error_type"] == "bad_request"
    assert "Idempotency-Key" in answer.json()["detail"]
    assert stored(server, prompt) == []


def test_a_key_outlives_a_lost_reply_and_a_killed_server(tmp_path, prompt):
    body, headers = small(prompt=prompt), {"Idempotency-Key": prompt}
    with serving(tmp_path, mock_seconds=0.05) as server:
        with server.client() as client:
            for cut in (close, close):
                with held(server):
                    sock = send(server, body, headers)
                    settle(client)
                    cut(sock)
            id = the_only(server, prompt)
        server.kill()
        server.start()
        with server.client() as client:
            assert told(post(client, body, prompt)) == (id, "true")
            # The note of a reply that was lost is for submits without a key.
            assert told(client.post(QUEUE, json=body)) != (id, "true")


def test_a_key_ends_with_its_time(tmp_path, prompt):
    with serving(tmp_path, idempotency_seconds=0.2) as server:
        with server.client() as client:
            id, _ = told(post(client, small(prompt=prompt), prompt))
            time.sleep(0.3)
            other, repeated = told(post(client, small(prompt=prompt, seed=4), prompt))
            assert other != id
            assert repeated is None
            time.sleep(0.3)
        server.kill()
        server.start()
        assert rows(server, "SELECT * FROM idempotency_keys") == [], "nothing is kept of what is over"


def test_what_was_refused_used_no_key(tmp_path, prompt):
    settings = {"strict_submit": True, "mock_slots": 1, "mock_seconds": 3600}
    with serving(tmp_path, **settings) as server, server.client() as client:
        assert post(client, small(prompt=prompt, num_frames=1), prompt).status_code == 422
        for _ in range(2):
            told(client.post(QUEUE, json=small()))
        full = {"fal_max_queue_length": "0"}
        assert post(client, small(prompt=prompt), prompt, params=full).status_code == 429
        id, repeated = told(post(client, small(prompt=prompt), prompt))
        assert repeated is None
        # It waits in the queue that is full, so it is told of, not refused.
        assert told(post(client, small(prompt=prompt), prompt, params=full)) == (id, "true")


class TestRun:
    def test_two_at_once_wait_for_one(self, server, client, prompt):
        body = small(prompt=prompt)
        with ThreadPoolExecutor(3) as threads:
            answers = list(threads.map(lambda _: post(client, body, prompt, RUN), range(3)))
        answers.append(post(client, body, prompt, RUN))
        assert {told(answer)[0] for answer in answers} == set(stored(server, prompt))
        assert len({answer.content for answer in answers}) == len(stored(server, prompt)) == 1
        assert sorted(str(told(answer)[1]) for answer in answers) == ["None", "true", "true", "true"]

    def test_it_goes_on_without_its_connection(self, server, client, prompt):
        body = small(prompt=prompt)
        with held(server):
            send(server, body, {"Idempotency-Key": prompt}, path=RUN).close()
            settle(client)
        id = the_only(server, prompt)
        answer = post(client, body, prompt, RUN)
        assert told(answer) == (id, "true")
        assert answer.json()["video"]["url"]

    def test_an_answer_that_is_the_file_itself_can_be_had_again(self, server, client, prompt):
        body = small(prompt=prompt, sync_mode=True)
        answers = [post(client, body, prompt, RUN) for _ in range(2)]
        assert answers[0].json()["video"]["url"].startswith("data:video/mp4;base64,")
        assert answers[0].content == answers[1].content
        streamed = post(client, body, prompt, RUN + "/stream")
        assert told(streamed) == (stored(server, prompt)[0], "true")
        assert answers[0].json()["video"]["url"] in streamed.text
        assert post(client, body, prompt, RUN).content == answers[0].content

    def test_an_error_is_the_answer_too(self, server, client, prompt):
        body = small(prompt=prompt, num_frames=1)
        answers = [post(client, body, prompt, RUN) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [422, 422]
        assert answers[0].content == answers[1].content
        assert answers[0].headers["x-fal-request-id"] == answers[1].headers["x-fal-request-id"]

    def test_without_a_key_it_ends_with_its_connection(self, server, client, prompt):
        body = small(prompt=prompt)
        lose_reply(server, client, body, path=RUN)
        id = the_only(server, prompt)
        query = "SELECT state FROM requests WHERE id = ? AND ended_at IS NOT NULL"
        until(lambda: rows(server, query, id))
        assert rows(server, query, id) == [("cancelled",)]
