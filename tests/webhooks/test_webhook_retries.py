"""Receivers that fail, are away, are slow or want no more; and what the log of deliveries says of it."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webhook_client import Webhooks
from webhook_receiver import until, verify

from serving import serving
from stillmotion.service.webhook_delivery import PER_HOST
from stillmotion.service.webhook_schedule import JITTER, STEPS, Schedule, verdict


def answers(webhooks, id):
    return [each["status"] or each["error"] for each in webhooks.log(id)["deliveries"]]


def ended(webhooks, id, state):
    until(lambda: webhooks.log(id)["state"] == state, f"{state} for {id}")
    return webhooks.log(id)


def test_whatever_is_no_success_is_tried_again_with_the_same_body(receiver, webhooks):
    receiver.answers["/flaky"] = [500, 404, 429, 204]
    id = webhooks.submit(f"{receiver.url}/flaky")
    received = receiver.wait(id, 4)
    log = ended(webhooks, id, "delivered")
    assert answers(webhooks, id) == [500, 404, 429, 204]
    assert len({each.body for each in received}) == 1
    assert all(verify(each, webhooks.keys()) for each in received)
    assert [each["attempt"] for each in log["deliveries"]] == [1, 2, 3, 4]
    assert [each["next_attempt_at"] is None for each in log["deliveries"]] == [False, False, False, True]
    assert (log["attempts"], log["next_attempt_at"]) == (4, None)
    assert all(each["seconds"] >= 0 for each in log["deliveries"])
    for before, after in zip(log["deliveries"], log["deliveries"][1:], strict=False):
        assert before["next_attempt_at"] <= after["at"]


def test_a_receiver_that_is_away_for_a_while_is_told_once_it_is_back(receiver, webhooks):
    receiver.down()
    id = webhooks.submit(f"{receiver.url}/away")
    until(lambda: len(webhooks.log(id)["deliveries"]) >= 3, "three failures")
    assert set(answers(webhooks, id)) == {"unreachable"}
    assert webhooks.log(id)["state"] == "pending"
    receiver.up()
    (received,) = receiver.wait(id)
    assert verify(received, webhooks.keys())
    ended(webhooks, id, "delivered")


@pytest.mark.parametrize("status", [301, 307, 410])
def test_redirects_and_gone_are_final(receiver, webhooks, status):
    receiver.answers["/final"] = [status]
    id = webhooks.submit(f"{receiver.url}/final")
    log = ended(webhooks, id, "failed")
    assert answers(webhooks, id) == [status]
    assert log["next_attempt_at"] is None
    assert {each.path for each in receiver.of(id)} == {"/final"}, "a redirect is not followed"


def test_a_slow_receiver_holds_up_its_own_webhooks_alone(receiver, webhooks):
    receiver.held["/slow"] = threading.Event()
    slow = [webhooks.submit(f"{receiver.url}/slow") for _ in range(PER_HOST + 3)]
    until(lambda: receiver.holding == PER_HOST, "the host's share of deliveries")
    # By its other name it is another host.
    (received,) = receiver.wait(webhooks.submit(f"http://localhost:{receiver.port}/fast"))
    assert received.path == "/fast"
    assert receiver.holding == PER_HOST
    receiver.held["/slow"].set()
    for id in slow:
        receiver.wait(id)
        assert answers(webhooks, id) in ([], [200]), "none was told twice"


def test_a_receiver_that_never_answers_is_given_up_and_told_again_by_command(tmp_path, receiver):
    receiver.answers["/dead"] = [503]
    with serving(tmp_path, mock_seconds=0.02, webhook_seconds=0.0005) as server, server.client() as client:
        webhooks = Webhooks(client)
        id = webhooks.submit(f"{receiver.url}/dead")
        log = ended(webhooks, id, "failed")
        assert answers(webhooks, id) == [503] * (len(STEPS) + 1)
        assert (log["attempts"], log["next_attempt_at"]) == (len(STEPS) + 1, None)
        receiver.answers["/dead"] = [503, 200]
        assert webhooks.redeliver(id)["state"] in ("pending", "delivered")
        receiver.wait(id, len(STEPS) + 3)
        log = ended(webhooks, id, "delivered")
        assert answers(webhooks, id)[-2:] == [503, 200], "the schedule began anew"


def test_what_was_taken_is_told_again_by_command(client, receiver, webhooks):
    id = webhooks.submit(f"{receiver.url}/again")
    receiver.wait(id)
    webhooks.redeliver(id)
    first, second = receiver.wait(id, 2)
    assert first.body == second.body
    until(lambda: answers(webhooks, id) == [200, 200], "two deliveries in the log")
    for method, path in (("GET", "/v1/webhooks/absent"), ("POST", "/v1/webhooks/absent/redeliver")):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")


def test_the_listing_is_newest_first_and_in_pages(client, receiver, webhooks):
    ids = [webhooks.submit(f"{receiver.url}/listed?n={number}") for number in range(3)]
    found, cursor = [], None
    while len(found) < 3:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        answer = client.get("/v1/webhooks", params=query).json()
        found += [each["request_id"] for each in answer["webhooks"]]
        cursor = answer["next_cursor"]
    assert found[:3] == ids[::-1]
    assert client.get("/v1/webhooks", params={"cursor": "x"}).status_code == 400


def test_the_schedule_covers_two_hours_in_more_than_ten_attempts():
    schedule = Schedule()
    waits = [schedule.wait(failures, 0.0) for failures in range(1, 12)]
    assert waits[-1] is None
    assert sum(waits[:-1]) >= 2 * 3600
    assert len(waits) >= 10
    assert [schedule.timeout(failures) for failures in (0, 1, 10)] == [15, 120, 120]


@given(st.integers(1, len(STEPS) - 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1000))
def test_waits_grow_whatever_the_chance(failures, chance, other, unit):
    schedule = Schedule(unit=unit)
    assert schedule.wait(failures, chance) < schedule.wait(failures + 1, other)
    assert (
        0 <= schedule.wait(failures, chance) - schedule.wait(failures, 0) <= JITTER * schedule.wait(failures, 0) * 1.01
    )


@given(st.integers(100, 599))
def test_a_status_has_one_meaning(status):
    expected = {2: "delivered", 3: "refused"}.get(status // 100, "refused" if status == 410 else "again")
    assert verdict(status) == expected
    assert verdict(None) == "again"
