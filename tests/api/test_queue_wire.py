"""The queue and run surfaces as raw HTTP: what fal's clients rely on, rule by rule."""

import io
import re
import ssl
import time

import av
import httpx2
import pytest

from serving import APP, ENDPOINT, small, submit, wait

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def client(mock_server):
    with mock_server.client() as client:
        yield client


def path(request, suffix=""):
    return f"/queue/{APP}/requests/{request['request_id']}{suffix}"


def test_submit_answers_all_that_the_clients_need(client, mock_server):
    answer = client.post(f"/queue/{ENDPOINT}", json=small())
    body = answer.json()
    assert answer.status_code == 200
    assert UUID.fullmatch(body["request_id"])
    base = f"{mock_server.http}/queue/{APP}/requests/{body['request_id']}"
    assert (body["response_url"], body["status_url"], body["cancel_url"]) == (base, base + "/status", base + "/cancel")
    assert body["status"] == "IN_QUEUE"
    assert isinstance(body["queue_position"], int)
    assert (body["logs"], body["metrics"]) == (None, {})
    assert answer.headers["x-fal-request-id"] == body["request_id"]
    wait(client, body)


def test_a_request_goes_from_queue_to_video(client):
    request = submit(client, seed=5)
    seen = []
    while (answer := client.get(path(request, "/status"))).status_code == 202:
        body = answer.json()
        seen.append(body["status"])
        assert body["status"] in {"IN_QUEUE", "IN_PROGRESS"}
        assert body["logs"] is None
        if body["status"] == "IN_QUEUE":
            assert isinstance(body["queue_position"], int)
        early = client.get(path(request))
        if early.status_code != 200:
            assert (early.status_code, early.json()["detail"]) == (400, "Request is still in progress")
        time.sleep(0.01)
    completed = answer.json()
    assert completed["status"] == "COMPLETED"
    assert completed["metrics"]["inference_time"] > 0
    assert "error" not in completed
    result = client.get(path(request))
    assert result.status_code == 200
    assert result.headers["content-type"] == "application/json"
    assert result.headers["x-fal-request-id"] == request["request_id"]
    assert result.headers["x-stillmotion-model"] == "mock"
    output = result.json()
    assert output["seed"] == 5
    assert output["prompt"] == "a test"
    video = output["video"]
    assert (video["width"], video["height"], video["num_frames"], video["fps"]) == (64, 64, 9, 25)
    assert video["duration"] == pytest.approx(9 / 25)
    content = client.get(video["url"]).content
    assert len(content) == video["file_size"]
    with av.open(io.BytesIO(content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 9


def test_logs_are_null_unless_asked_for_and_then_cumulative(client):
    request = submit(client)
    wait(client, request)
    assert client.get(path(request, "/status")).json()["logs"] is None
    for spelling in ("true", "1", "True"):
        logs = client.get(path(request, "/status"), params={"logs": spelling}).json()["logs"]
        assert [sorted(line) for line in logs] == [["level", "message", "source", "timestamp"]] * len(logs)
        assert any("mock engine" in line["message"] for line in logs)
    for spelling in ("false", "0"):
        assert client.get(path(request, "/status"), params={"logs": spelling}).json()["logs"] is None


def test_completed_status_and_result_do_not_change(client):
    request = submit(client)
    wait(client, request)
    for suffix in ("", "/status", "/status?logs=1"):
        assert client.get(path(request, suffix)).content == client.get(path(request, suffix)).content


def test_trailing_slashes_and_the_full_endpoint_id_work(client):
    request = submit(client)
    wait(client, request)
    id = request["request_id"]
    for base in (f"/queue/{APP}/requests/{id}", f"/queue/{ENDPOINT}/requests/{id}"):
        for suffix in ("", "/", "/response", "/status", "/status/"):
            assert client.get(base + suffix).status_code == 200, base + suffix


def test_another_application_does_not_know_the_request(client):
    request = submit(client)
    for app in ("fal-ai/ltx-2", "fal-ai/ltx-2-19", "fal-ai/ltx-2-19b-x", "other/ltx-2-19b"):
        answer = client.get(f"/queue/{app}/requests/{request['request_id']}/status")
        assert (answer.status_code, answer.json()) == (404, {"status": "NOT_FOUND"})
    wait(client, request)


@pytest.mark.parametrize("id", ["938dacde-668a-4607-bcd3-74f45a9e442a", "nonsense", "a%00b", "a" * 500])
def test_unknown_requests_are_not_found_everywhere(client, id):
    for method, suffix in (("GET", ""), ("GET", "/status"), ("PUT", "/cancel")):
        answer = client.request(method, f"/queue/{APP}/requests/{id}{suffix}")
        assert (answer.status_code, answer.json()) == (404, {"status": "NOT_FOUND"})


def test_unknown_endpoints_are_told(client):
    for surface in ("run", "queue"):
        answer = client.post(f"/{surface}/fal-ai/unknown/model", json={})
        assert (answer.status_code, answer.json()) == (404, {"detail": "Application 'fal-ai/unknown/model' not found"})
        answer = client.post(f"/{surface}/{APP}/text-to-video", json={})
        assert (answer.status_code, answer.json()) == (404, {"detail": "Path /text-to-video not found"})


def test_run_answers_with_the_output(client, mock_server):
    answer = client.post(f"/run/{ENDPOINT}", json=small())
    assert answer.status_code == 200
    assert UUID.fullmatch(answer.headers["x-fal-request-id"])
    assert answer.json()["video"]["url"].startswith(mock_server.http + "/files/")


def test_faulty_input_is_accepted_then_completed_with_its_error(client):
    request = submit(client, num_frames=3)
    status = wait(client, request, seconds=5)
    assert status["status"] == "COMPLETED"
    assert "num_frames" in status["error"]
    assert status["error_type"] == "greater_than_equal"
    result = client.get(path(request))
    assert result.status_code == 422
    (detail,) = result.json()["detail"]
    assert detail == {
        "loc": ["body", "num_frames"],
        "msg": "Input should be greater than or equal to 9",
        "type": "greater_than_equal",
        "url": "https://docs.fal.ai/errors/#greater_than_equal",
        "ctx": {"ge": 9},
        "input": 3,
    }
    assert result.headers["x-fal-retryable"] == "false"
    assert result.headers["x-fal-billable-units"] == "0"


def test_unknown_paths_and_methods_answer_in_json(client):
    missing = client.get("/nowhere")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Path /nowhere not found"})
    wrong = client.delete(f"/queue/{ENDPOINT}")
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})


def test_health(client):
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}


def test_answers_carry_the_scheme_and_host_of_the_client(mock_server):
    context = ssl.create_default_context(cafile=str(mock_server.data / "tls" / "ca.pem"))
    with httpx2.Client(base_url=mock_server.https, verify=context, trust_env=False) as client:
        request = submit(client)
        wait(client, request)
        output = client.get(request["response_url"]).json()
    assert request["status_url"].startswith(mock_server.https + "/queue/")
    assert output["video"]["url"].startswith(mock_server.https + "/files/")


def test_an_output_of_ours_is_resolved_inside(client):
    """Our own URLs lie on loopback, which the guarded download refuses; they must not go over the network at all."""
    request = submit(client)
    wait(client, request)
    url = client.get(path(request)).json()["video"]["url"]
    answer = client.post(f"/run/{ENDPOINT}", json=small(image_url=url))
    (detail,) = answer.json()["detail"]
    assert detail["type"] == "unsupported_image_format", "the file was reached, and it is a video"
