"""``/api/fal/proxy``, the target of the JavaScript client's ``proxyUrl``; test_js_client has that client use it."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from serving import APP, ENDPOINT, Server, serving, small, wait

PROXY = "/api/fal/proxy"
QUEUE = f"https://queue.fal.run/{ENDPOINT}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("proxy")
    rules = folder / "rules.json"
    rules.write_text(json.dumps({"rules": [{"action": "delay", "seconds": 60, "match": {"prompt": "^slow$"}}]}))
    with serving(folder / "data", rules_file=rules, mock_seconds=0.05) as server:
        yield server


def ask(client, target, method="POST", **options):
    return client.request(method, PROXY, headers={"x-fal-target-url": target}, **options)


def test_every_method_goes_where_its_target_is(server):
    with server.client() as client:
        submitted = ask(client, f"{QUEUE}?fal_webhook=http%3A%2F%2Flocalhost%3A9%2F", json=small())
        assert submitted.status_code == 200
        assert submitted.json()["gateway_request_id"]  # the query arrived
        request = f"https://queue.fal.run/{APP}/requests/{submitted.json()['request_id']}"
        assert ask(client, f"{request}/status?logs=1", "GET").json()["logs"] is not None
        assert ask(client, f"{request}/cancel", "PUT").status_code in (202, 400)
        assert ask(client, "https://rest.fal.ai/storage/auth/token", json={}).json()["base_url"] == f"{server.http}/cdn"
        assert ask(client, "https://api.fal.ai/v1/models", "GET").json()["models"]
        assert ask(client, "https://fal.run/fal-ai/none", "DELETE").status_code in (404, 405)


def test_answers_are_those_of_the_path_itself(server):
    """Errors and limits too: a body that is too long for what is meant is not the proxy's affair."""
    with server.client() as client:
        for path in (f"/{APP}/requests/none/status", f"/{APP}/requests/none", "/fal-ai/unknown"):
            meant = client.get(f"/queue{path}")
            found = ask(client, f"https://queue.fal.run{path}", "GET")
            assert (found.status_code, found.json()) == (meant.status_code, meant.json())
        long = {"content": b"{" + b" " * (2 << 20) + b"}"}
        assert ask(client, "https://rest.fal.ai/storage/upload/initiate", **long).status_code == 413
        assert ask(client, QUEUE, **long).status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/fal-ai/ltx-2",
        "http://queue.fal.run/fal-ai/ltx-2",
        "https://example.com/fal-ai/ltx-2",
        "https://myfal.run/fal-ai/ltx-2",
        "https://fal.run.example.com/",
        "https://fal.run@example.com/",
        "https://example.com@fal.run/",
        "https://fal.run:8443/",
        "https://fal.run:port/",
        "https://[fal.run/",
        "https://f\u00e4l.run/",
    ],
)
def test_other_targets_are_invalid(server, target):
    with server.client() as client:
        headers = [("x-fal-target-url", target.encode("latin-1"))]
        for sent in (headers, [*headers, ("x-fal-target-url", QUEUE)], []):
            answer = client.post(PROXY, headers=sent, json=small())
            assert (answer.status_code, answer.json()) == (400, {"detail": "Invalid request"})


def test_foreign_pages_are_refused_there_too(server):
    with server.client() as client:
        headers = {"x-fal-target-url": QUEUE, "origin": "https://evil.example"}
        assert client.post(PROXY, headers=headers, json=small()).status_code == 403


def follow(client, target, method="GET", **options):
    return client.stream(method, PROXY, headers={"x-fal-target-url": target, "accept": "text/event-stream"}, **options)


def first_event(answer: httpx2.Response) -> dict:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    return next(json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: "))


def test_events_come_as_they_happen(server):
    """Those of a request that goes on for a minute: a proxy that gathered them would have none to give."""
    with server.client() as client:
        request = ask(client, QUEUE, json=small(prompt="slow")).json()
        status = f"https://queue.fal.run/{APP}/requests/{request['request_id']}/status"
        with follow(client, f"{status}/stream?logs=1") as answer:
            assert answer.headers["x-fal-request-id"] == request["request_id"]
            assert answer.headers["x-accel-buffering"] == "no"
            assert first_event(answer)["status"] in ("IN_QUEUE", "IN_PROGRESS")
        # Whoever stops to look at the queue leaves the request alone.
        assert ask(client, status, "GET").status_code == 202
        assert ask(client, status.replace("/status", "/cancel"), "PUT").status_code == 202


def test_leaving_a_model_stream_ends_its_request(server):
    long = {"num_inference_steps": 50, "num_frames": 481, "video_size": {"width": 1280, "height": 704}}
    with server.client() as client:
        with follow(client, f"https://fal.run/{ENDPOINT}/stream", "POST", json=small(**long)) as answer:
            event = first_event(answer)
        url = f"{server.http}/queue/{APP}/requests/{event['request_id']}"
        assert wait(client, {"status_url": f"{url}/status"})["error_type"] == "client_cancelled"


def test_other_methods_are_none(server):
    with server.client() as client:
        assert ask(client, QUEUE, "PATCH").status_code in (404, 405)
