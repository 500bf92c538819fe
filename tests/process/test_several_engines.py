"""One server with an engine for each of two devices, which may hold a model each."""

import subprocess
import sys
import time

import pytest

from serving import clean_environment, serving, small, submit, wait

LORA = "fal-ai/ltx-2.3-22b/image-to-video/lora"
MODELS = f"all=tiny-ltx-2,{LORA}=tiny-ltx-2.3"


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_models):
    # A CPU with a number is the same CPU to torch, and another device to us.
    devices = "cpu:0=tiny-ltx-2,cpu:1=tiny-ltx-2.3"
    settings = {"models": tiny_models, "model": MODELS, "device": devices, "threads": 1}
    with serving(tmp_path_factory.mktemp("engines"), engine="process", **settings) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def engines(client):
    return {engine["name"]: engine for engine in client.get("/v1/engines").json()["engines"]}


def submit_lora(client):
    return client.post(f"/queue/{LORA}", json=small(loras=[])).json()


def device_of(client, request):
    """Where a finished request was computed."""
    status = wait(client, request, seconds=120)
    assert "error" not in status, status
    (line,) = [line["message"] for line in status["logs"] if line["message"].startswith("engine process ")]
    return line.split(" on ")[1].split(",")[0]


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_each_engine_takes_what_it_may_hold(client):
    requests = [submit(client), submit_lora(client), submit(client), submit_lora(client)]
    assert [device_of(client, request) for request in requests] == ["cpu:0", "cpu:1", "cpu:0", "cpu:1"]
    found = engines(client)
    assert {name: engine["loaded"] for name, engine in found.items()} == {
        "cpu:0": "tiny-ltx-2",
        "cpu:1": "tiny-ltx-2.3",
    }
    assert found["cpu:1"]["endpoints"] == [LORA]
    assert LORA not in found["cpu:0"]["endpoints"]


def test_one_engine_is_drained_while_the_other_goes_on(server, client):
    device_of(client, submit_lora(client))
    before = server.engine_pids()
    assert len(before) == 2
    command = [sys.executable, "-m", "stillmotion", "engines", "drain", "cpu:1", "--data", str(server.data)]
    told = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stdout) == (0, "cpu:1: drained\n"), told.stderr
    assert len(server.engine_pids()) == 1  # its memory is free
    waiting = submit_lora(client)
    assert device_of(client, submit(client)) == "cpu:0"
    assert client.get(waiting["status_url"]).json()["status"] == "IN_QUEUE"
    assert engines(client)["cpu:1"]["state"] == "drained"
    assert client.post("/v1/engines/cpu:1/resume").json()["state"] == "active"
    assert device_of(client, waiting) == "cpu:1"
    assert len(server.engine_pids()) == 2


def test_draining_ends_what_runs_first(client):
    request = client.post(f"/queue/{LORA}", json=small(loras=[], num_inference_steps=50, num_frames=25)).json()
    until(lambda: engines(client)["cpu:1"]["running"])
    answer = client.post("/v1/engines/cpu:1/drain").json()
    assert (answer["state"], answer["running"]) == ("draining", [request["request_id"]])
    assert device_of(client, request) == "cpu:1"
    until(lambda: engines(client)["cpu:1"]["state"] == "drained")
    client.post("/v1/engines/cpu:1/resume")


def test_an_engine_that_is_not_there(server, client):
    answer = client.post("/v1/engines/cuda:9/drain")
    assert answer.status_code == 404
    assert "cuda:9" in answer.json()["error"]["message"]
    command = [sys.executable, "-m", "stillmotion", "engines", "drain", "cuda:9", "--url", server.http]
    told = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    assert "there is cpu:0, cpu:1" in told.stderr.lower()
