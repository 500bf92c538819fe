"""``/api/fal/proxy``, the target of the JavaScript client's ``proxyUrl``."""

import base64
import json
from collections.abc import Iterator

import pytest
from js_client import need_js_client, run_js

from serving import APP, ENDPOINT, Server, clean_environment, picture, serving, small

PROXY = "/api/fal/proxy"
QUEUE = f"https://queue.fal.run/{ENDPOINT}"

PROGRAM = """
import { createFalClient } from "@fal-ai/client";
const [proxy, endpoint, argument, picture] = process.argv.slice(1);
const asked = [];
const fal = createFalClient({
  proxyUrl: { url: proxy, when: "always" },
  fetch: (url, options) => { asked.push(String(url)); return fetch(url, options); },
});
const input = JSON.parse(argument);
const failure = async (doing) => { try { await doing(); } catch (e) { return [e.name, e.status, e.body]; } };

const file = new Blob([Buffer.from(picture, "base64")], { type: "image/png" });
const uploaded = await fal.storage.upload(file);
const back = await fetch(uploaded);
const large = await fal.storage.upload(new Blob([new Uint8Array(91 << 20)], { type: "application/zip" }));
const ran = await fal.run(endpoint, { input: { ...input, image_url: file } });
const polled = await fal.subscribe(endpoint, { input: { ...input, image_url: uploaded }, pollInterval: 20 });
const { request_id } = await fal.queue.submit(endpoint, { input });
let status;
do { status = await fal.queue.status(endpoint, { requestId: request_id, logs: true }); }
while (status.status !== "COMPLETED");
const result = await fal.queue.result(endpoint, { requestId: request_id });
const range = (await fetch(large, { headers: { range: "bytes=0-0" } })).headers.get("content-range");
const bytes = Buffer.from(await back.arrayBuffer()).toString("base64");
console.log(JSON.stringify({
  uploaded,
  large: Number(range.split("/")[1]),
  back: [back.status, back.headers.get("content-type"), bytes === picture],
  ran: [ran.requestId, ran.data.video],
  polled: [polled.requestId, polled.data.video.url],
  result: [result.requestId === request_id, result.data.video.url],
  logs: status.logs.length,
  late: await failure(() => fal.queue.cancel(endpoint, { requestId: request_id })),
  invalid: await failure(() => fal.run(endpoint, { input: { ...input, num_frames: -1 } })),
  video: (await fetch(result.data.video.url)).status,
  asked: [...new Set(asked.map((url) => new URL(url).origin))],
}));
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("proxy"), mock_seconds=0.05) as server:
        yield server


def test_the_javascript_client_does_everything_through_it(server):
    need_js_client()
    arguments = [server.http + PROXY, ENDPOINT, json.dumps(small()), base64.b64encode(picture()).decode()]
    found = run_js(PROGRAM, *arguments, env=clean_environment())
    assert found["asked"] == [server.http]
    assert found["uploaded"].startswith(f"{server.http}/cdn/files/")
    assert found["large"] == 91 << 20
    assert found["back"] == [200, "image/png", True]
    assert (found["ran"][1]["width"], found["ran"][1]["num_frames"]) == (64, 9)
    for url in (found["ran"][1]["url"], found["polled"][1], found["result"][1]):
        assert url.startswith(f"{server.http}/files/")
    assert found["ran"][0]
    assert found["result"][0]
    assert found["logs"] > 0
    assert found["late"][1] == 400
    assert found["invalid"][:2] == ["ValidationError", 422]
    assert found["invalid"][2]["detail"][0]["loc"] == ["body", "num_frames"]
    assert found["video"] == 200


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


def test_other_methods_are_none(server):
    with server.client() as client:
        assert ask(client, QUEUE, "PATCH").status_code in (404, 405)
