"""Pulls over HTTP, against a hub on loopback: what would come, terms, progress, a stop, and going on from there."""

import time

import pytest

from fake_hub import run_hub
from serving import serving
from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER, GEMMA, LTX_2_3

NAME, WEIGHTS = "ltx-2.3-22b", "ltx-2.3-22b-dev.safetensors"
SMALL = ["cameras", "distilled", "spatial", "temporal", "safety"]
CONTENT = bytes(range(256)) * 94_000
TERMS = ["LTX-2 Community License Agreement", "Gemma Terms of Use"]


@pytest.fixture(scope="module")
def hub():
    with run_hub() as fake:
        for source in (found for bundle in BUNDLES.values() for _, found in bundle.sources()):
            repo = fake.repos.get(source.repository) or fake.add(source.repository, {"LICENSE": b"Be kind.\n"})
            repo.revisions["main"][source.file] = source.file.encode() * 50
        fake.repos[LTX_2_3].revisions["main"][WEIGHTS] = CONTENT
        texts = {"config.json": b'{"model_type": "gemma3"}', "tokenizer_config.json": b"{}"}
        fake.add(GEMMA, {**texts, "model.safetensors": b"gemma" * 500}, gated=True)
        fake.add(CLASSIFIER.repository, {name: name.encode() for name in CLASSIFIER.files})
        yield fake


@pytest.fixture(scope="module")
def server(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pulls")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_TOKEN": "hf_allowed"}.items():
            environment.setenv(name, value)
        with serving(folder / "data", models=folder / "models", min_free_bytes=0) as server:
            yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def bundle(client):
    return next(each for each in client.get("/v1/bundles").json()["bundles"] if each["name"] == NAME)


def until(client, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition(found := client.get(f"/v1/bundles/{NAME}/pull").json()):
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def test_a_pull_from_its_plan_to_its_end(hub, server, client):
    absent = bundle(client)
    assert (absent["state"], absent["licence"], absent["pull"]) == ("absent", TERMS[0], None)
    assert absent["size_bytes"] == absent["missing_bytes"] > 80e9
    assert client.get(f"/v1/bundles/{NAME}/pull").status_code == 404

    plan = client.get(f"/v1/bundles/{NAME}/plan", params={"without": ",".join(SMALL)}).json()
    parts = {part["part"]: part for part in plan["parts"]}
    assert parts["checkpoint"] == {"part": "checkpoint", "size_bytes": len(CONTENT), "files": 1, "here": False}
    assert plan["to_fetch_bytes"] == sum(part["size_bytes"] for part in parts.values())
    assert [(terms["name"], terms["text"]) for terms in plan["terms"]] == [(TERMS[0], "Be kind.\n"), (TERMS[1], None)]
    assert hub.cdn_seen == [seen for seen in hub.cdn_seen if WEIGHTS not in seen.path]

    refused = client.post(f"/v1/bundles/{NAME}/pull", json={"without": SMALL})
    assert (refused.status_code, "not accepted" in refused.text) == (400, True)
    assert hub.fetched(WEIGHTS) == []

    hub.stall[WEIGHTS] = 12_000_000
    begun = client.post(f"/v1/bundles/{NAME}/pull", json={"without": SMALL, "accept_licence": True})
    assert (begun.status_code, begun.json()["state"]) == (202, "running")
    moving = until(client, lambda pull: pull["done_bytes"] >= 10 << 20)
    (file,) = [file for file in moving["files"] if file["file"] == WEIGHTS]
    assert (file["size_bytes"], file["state"]) == (len(CONTENT), "fetching")
    assert moving["size_bytes"] == plan["to_fetch_bytes"]
    # Asked again it is the same pull.
    again = client.post(f"/v1/bundles/{NAME}/pull", json={"without": SMALL, "accept_licence": True}).json()
    assert again["started_at"] == moving["started_at"]

    stopped = client.delete(f"/v1/bundles/{NAME}/pull").json()
    assert stopped["state"] == "stopped"
    assert bundle(client)["state"] == "incomplete"
    hub.stall.clear()
    hub.cdn_seen.clear()
    client.post(f"/v1/bundles/{NAME}/pull", json={"without": SMALL})  # the terms were accepted
    done = until(client, lambda pull: pull["state"] != "running")
    assert (done["state"], done["error"], done["done_bytes"]) == ("done", None, done["size_bytes"])
    assert f"--model all={NAME}" in done["note"]
    (resumed,) = hub.fetched(WEIGHTS)
    assert int(resumed.range.removeprefix("bytes=").rstrip("-")) >= 10 << 20

    here = bundle(client)
    assert (here["state"], here["missing_bytes"], here["pull"]["state"]) == ("complete", 0, "done")
    assert "the admin key local" in here["accepted"]
    assert here["size_bytes"] >= len(CONTENT)
    assert "hf_allowed" not in server.log.read_text()


def test_what_cannot_be_pulled_is_told(hub, client):
    assert client.get("/v1/bundles/unknown/plan").status_code == 404
    assert client.post("/v1/bundles/unknown/pull", json={}).status_code == 404
    assert client.delete("/v1/bundles/unknown/pull").status_code == 404
    strange = client.get("/v1/bundles/ltx-2-19b/plan?without=wheels")
    assert (strange.status_code, "wheels" in strange.text) == (400, True)
    for body in ({"accept_licence": "yes"}, {"without": "safety"}, {"without": [1]}):
        assert client.post("/v1/bundles/ltx-2-19b/pull", json=body).status_code == 400
    hub.repos[GEMMA].allowed = "hf_another"
    try:
        gated = client.post("/v1/bundles/ltx-2-19b/pull", json={"accept_licence": True})
        assert gated.status_code == 400
        assert "gemma" in gated.json()["error"]["message"]
    finally:
        hub.repos[GEMMA].allowed = "hf_allowed"


def test_a_hub_that_is_down_is_no_fault_of_the_caller(hub, client):
    hub.status = 503
    try:
        assert client.get("/v1/bundles/ltx-2-19b-distilled/plan").status_code == 503
    finally:
        hub.status = None
