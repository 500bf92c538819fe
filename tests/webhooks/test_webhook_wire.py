"""What a receiver is sent, how it verifies it, and which receivers are refused."""

import base64
import io
import json
import ssl
import subprocess
from pathlib import Path
from urllib.parse import quote

import av
import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from webhook_client import Webhooks
from webhook_receiver import Received, until, verify

from requirements import need_package, need_program
from serving import ENDPOINT, clean_environment, data_uri, serving, small
from stillmotion.api.webhooks import DELETED, MAX_INLINE, TOO_LARGE, body
from stillmotion.service.webhook_delivery import Ended
from stillmotion.store.records import Request


def test_a_success_is_told_as_the_result_is_read(client, receiver, webhooks):
    hook = f"{receiver.url}/hook?a=1&b=%2F"
    answer = client.post(f"/queue/{ENDPOINT}", params={"fal_webhook": hook}, json=small()).json()
    id = answer["request_id"]
    assert answer["gateway_request_id"] == id
    assert {"status_url", "response_url", "cancel_url"} <= answer.keys()
    (received,) = receiver.wait(id)
    assert received.told == {
        "request_id": id,
        "gateway_request_id": id,
        "status": "OK",
        "payload": webhooks.result(id).json(),
    }
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["X-Fal-Webhook-Request-Id"] == id
    file = client.get(received.told["payload"]["video"]["url"])
    assert (file.status_code, len(file.content)) == (200, received.told["payload"]["video"]["file_size"])


def test_the_signature_is_fals(receiver, webhooks):
    (received,) = receiver.wait(webhooks.submit(f"{receiver.url}/signed"))
    keys = webhooks.keys()
    assert verify(received, keys)
    assert not verify(Received(received.path, received.headers, received.body + b" "), keys)
    for name in ("Request-Id", "User-Id", "Timestamp"):
        header = f"X-Fal-Webhook-{name}"
        changed = {**received.headers, header: received.headers[header] + "0"}
        assert not verify(Received(received.path, changed, received.body), keys)
    stranger = base64.urlsafe_b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    assert not verify(received, [{"kty": "OKP", "crv": "Ed25519", "x": stranger.rstrip("=")}])
    assert verify(received, [{"kty": "OKP", "crv": "Ed25519", "x": stranger.rstrip("=")}, *keys])


def test_the_key_set_is_that_of_the_key_file(client, server):
    path = server.data / "webhook-keys.json"
    assert path.stat().st_mode & 0o777 == 0o600
    (kept,) = json.loads(path.read_text())
    public = Ed25519PrivateKey.from_private_bytes(base64.b64decode(kept["seed"])).public_key().public_bytes_raw()
    for url, host in (
        ("/.well-known/jwks.json", None),
        ("/rest/.well-known/jwks.json", None),
        ("/.well-known/jwks.json", "rest.fal.ai"),
    ):
        answer = client.get(url, headers={"host": host} if host else {})
        (key,) = answer.json()["keys"]
        assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
        assert key["x"] == base64.urlsafe_b64encode(public).decode().rstrip("=")
        assert answer.headers["cache-control"] == "public, max-age=3600"
        assert kept["seed"] not in answer.text


def test_payload_urls_are_those_of_the_client_that_submitted(server, receiver):
    context = ssl.create_default_context(cafile=str(server.data / "tls" / "ca.pem"))
    with httpx2.Client(base_url=server.https, verify=context, trust_env=False) as client:
        answer = client.post(f"/queue/{ENDPOINT}", params={"fal_webhook": f"{receiver.url}/tls"}, json=small())
        (received,) = receiver.wait(answer.json()["request_id"])
        url = received.told["payload"]["video"]["url"]
        assert url.startswith(f"{server.https}/files/")
        assert client.get(url).status_code == 200


def failed(received, webhooks, status):
    """Checks what is told of a failure: the body that its result has."""
    id = received.told["request_id"]
    result = webhooks.result(id)
    assert result.status_code == status
    assert received.told == {
        "request_id": id,
        "gateway_request_id": id,
        "status": "ERROR",
        "error": f"Invalid status code: {status}",
        "payload": result.json(),
    }
    assert verify(received, webhooks.keys())


def test_input_that_fails_the_schema_is_told_at_once(receiver, webhooks):
    (received,) = receiver.wait(webhooks.submit(f"{receiver.url}/faulty", num_frames=3))
    failed(received, webhooks, 422)
    assert received.told["payload"]["detail"][0]["loc"] == ["body", "num_frames"]


def test_a_picture_that_cannot_be_read_is_told(receiver, webhooks):
    id = webhooks.submit(f"{receiver.url}/broken", image_url=data_uri(b"no picture"))
    (received,) = receiver.wait(id)
    failed(received, webhooks, 422)


def test_cancellations_and_slow_generations_are_told(tmp_path, receiver):
    with (
        serving(tmp_path, mock_seconds=60, mock_slots=1, generation_seconds=1.5) as server,
        server.client() as client,
    ):
        webhooks = Webhooks(client)
        running = webhooks.submit(f"{receiver.url}/running")
        requests = "/queue/fal-ai/ltx-2-19b/requests"
        until(lambda: client.get(f"{requests}/{running}/status").json()["status"] == "IN_PROGRESS", "a start")
        queued = webhooks.submit(f"{receiver.url}/queued")
        assert webhooks.log(queued)["state"] == "waiting"
        for id in (queued, running):
            assert client.put(f"{requests}/{id}/cancel").status_code == 202
            (received,) = receiver.wait(id)
            failed(received, webhooks, 499)
        slow = webhooks.submit(f"{receiver.url}/slow")
        (received,) = receiver.wait(slow)
        failed(received, webhooks, 504)


def test_sync_mode_is_told_with_its_file_and_is_still_there_to_be_read(receiver, webhooks):
    id = webhooks.submit(f"{receiver.url}/inline", sync_mode=True)
    (received,) = receiver.wait(id)
    url = received.told["payload"]["video"]["url"]
    assert url.startswith("data:video/mp4;base64,")
    with av.open(io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True))) as video:
        assert video.streams.video[0].frames == 9
    assert webhooks.result(id).json() == received.told["payload"]
    # Its one reader has had it: a receiver that is told again learns that it is gone.
    until(lambda: webhooks.result(id).status_code == 404, "the end of the output")
    webhooks.redeliver(id)
    told = receiver.wait(id, 2)[1].told
    assert (told["status"], told["payload"], told["payload_error"]) == ("OK", None, DELETED)


def test_a_file_that_is_too_large_to_stand_in_a_payload_is_left_to_the_queue(tmp_path):
    file = tmp_path / "large.mp4"
    output = {"video": {"url": "/files/large.mp4", "content_type": "video/mp4"}}
    for size, error in ((MAX_INLINE, None), (MAX_INLINE + 1, TOO_LARGE)):
        with file.open("wb") as sparse:
            sparse.truncate(size)
        told = json.loads(body(Ended(request=ephemeral(), output=output, origin="http://x", inline=file)))
        assert told.get("payload_error") == error
        assert (told["payload"] is None) == (error is not None)


def ephemeral():
    absent = dict.fromkeys(Request.__dataclass_fields__)
    return Request(**{**absent, "id": "i", "state": "done", "ephemeral": True})


def test_a_deleted_output_is_told_as_deleted(client, receiver, webhooks):
    id = webhooks.submit(f"{receiver.url}/deleted")
    receiver.wait(id)
    assert client.delete(f"/v1/models/requests/{id}/payloads").status_code == 200
    webhooks.redeliver(id)
    told = receiver.wait(id, 2)[1].told
    assert (told["status"], told["payload"], told["payload_error"]) == ("OK", None, DELETED)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "ftp://example.com/hook",
        "javascript:alert(1)",
        "https://user:password@example.com/",
        "https://example.com\\@evil.example/",
        "https://example.com:0/",
        "https://example.com/" + "a" * 4096,
        "https://example.com/" + "ä" * 1000,
        "http://10.0.0.1/hook",
        "http://192.168.1.1/hook",
        "http://169.254.169.254/latest/meta-data",
        "http://[fd00::1]/hook",
        "http://0x0a000001/hook",
        "https://8.8.8.8:25/",
    ],
)
def test_a_receiver_that_cannot_be_called_is_refused_and_nothing_is_stored(client, url):
    before = client.get("/v1/webhooks", params={"limit": 1}).json()["webhooks"]
    answer = client.post(f"/queue/{ENDPOINT}", params={"fal_webhook": url}, json=small())
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("fal_webhook: ")
    assert answer.json()["error_type"] == answer.headers["x-fal-error-type"] == "bad_request"
    assert client.get("/v1/webhooks", params={"limit": 1}).json()["webhooks"] == before


PYTHON = f"""
import json, sys, fal_client
handle = fal_client.submit({ENDPOINT!r}, json.loads(sys.argv[1]), webhook_url=sys.argv[2])
print(json.dumps(handle.request_id))
"""
# What the JavaScript client does with webhookUrl.
NODE = """
const [base, input, webhookUrl] = process.argv.slice(1);
const query = "?" + new URLSearchParams({ fal_webhook: webhookUrl }).toString();
const answer = await fetch(base + query, {
  method: "POST", headers: { "content-type": "application/json" }, body: input,
});
console.log(JSON.stringify((await answer.json()).request_id));
"""


def test_fals_python_client_names_a_receiver(server, receiver, webhooks):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    id = server.run_client(PYTHON, json.dumps(small()), f"{receiver.url}/python?key=a&more=b c")
    (received,) = receiver.wait(id)
    assert received.path == "/python"
    assert verify(received, webhooks.keys())
    assert received.told["payload"]["video"]["url"].startswith(server.https)


def test_the_url_as_the_javascript_client_writes_it(server, receiver, webhooks, tmp_path):
    need_program("node")
    command = ["node", "--input-type=module", "-e", NODE, f"{server.http}/queue/{ENDPOINT}", json.dumps(small())]
    done = subprocess.run(
        [*command, f"{receiver.url}/js?key=a&more=b+c"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (received,) = receiver.wait(json.loads(done.stdout))
    assert received.path == "/js"
    assert verify(received, webhooks.keys())


def test_secrets_of_the_url_are_sent_to_the_receiver_and_told_nowhere(client, server, receiver, webhooks):
    secret = "s3cr3t-canary"
    id = webhooks.submit(f"{receiver.url}/private?token={secret}&x={quote('/', safe='')}")
    receiver.wait(id)
    until(lambda: webhooks.log(id)["state"] == "delivered", "the end of the delivery")
    assert webhooks.log(id)["url"] == f"{receiver.url}/private"
    assert secret not in client.get("/v1/webhooks").text
    refused = client.post(
        f"/queue/{ENDPOINT}", params={"fal_webhook": f"http://10.0.0.1/?token={secret}"}, json=small()
    )
    assert (refused.status_code, secret in refused.text) == (400, False)
    log = Path(server.log).read_text()
    assert id in log
    assert secret not in log
