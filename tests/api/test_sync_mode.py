"""``sync_mode``: the file comes inside the answer, to one reader, and then only the row remains."""

import base64
import io
import json
import socket
import time
from urllib.parse import urlsplit

import av
import pytest

from requirements import need_package
from serving import APP, ENDPOINT, serving, small, submit, wait


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("sync-mode"), mock_seconds=0.05) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


def video_in(url, kind="video/mp4"):
    """The bytes in a data URI of a video."""
    head, _, content = url.partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(content, validate=True)


def eventually(ask, expected, seconds=10.0):
    """The client may read the last byte a moment before the server has deleted what it sent."""
    end = time.monotonic() + seconds
    while (found := ask()) != expected:
        assert time.monotonic() < end, found
        time.sleep(0.02)


def stored_files(server):
    return [path for path in (server.data / "files" / "blobs").rglob("*") if path.is_file()]


def item(client, id, **query):
    answer = client.get("/v1/models/requests/by-endpoint", params={"request_id": id, "expand": "payloads", **query})
    (found,) = answer.json()["items"]
    return found


def test_through_the_queue_it_stays_until_it_is_read(client, server):
    request = submit(client, sync_mode=True, seed=3)
    assert wait(client, request)["status"] == "COMPLETED"
    assert len(stored_files(server)) == 1
    for _ in range(3):
        assert wait(client, request)["status"] == "COMPLETED", "the status is not a reader"
        assert client.head(request["response_url"]).status_code == 200, "nor is one who asks for headers alone"
    answer = client.get(request["response_url"])
    output = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-fal-request-id"] == request["request_id"]
    assert answer.headers["x-fal-billable-units"] == "1"
    assert (output["seed"], output["prompt"]) == (3, "a test")
    video = output["video"]
    assert list(video) == [
        "url",
        "content_type",
        "file_name",
        "file_size",
        "width",
        "height",
        "fps",
        "duration",
        "num_frames",
    ]
    content = video_in(video["url"])
    assert len(content) == video["file_size"]
    with av.open(io.BytesIO(content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 9
    eventually(lambda: client.get(request["response_url"]).status_code, 404)
    assert client.get(request["response_url"]).json() == {"status": "NOT_FOUND"}
    eventually(lambda: stored_files(server), [])
    assert client.get(f"/files/{video['file_name']}").status_code == 404
    assert wait(client, request)["status"] == "COMPLETED", "the row remains"


def test_through_run_it_is_gone_at_once(client, server):
    answer = client.post(f"/run/{ENDPOINT}", json=small(sync_mode=True))
    assert len(video_in(answer.json()["video"]["url"])) == answer.json()["video"]["file_size"]
    id = answer.headers["x-fal-request-id"]
    eventually(lambda: client.get(f"/queue/{APP}/requests/{id}").status_code, 404)
    eventually(lambda: stored_files(server), [])
    found = item(client, id)
    assert (found["status_code"], found["json_output"], found["billable_units"]) == (200, None, "1")
    assert found["json_input"]["sync_mode"] is True


def test_the_output_is_not_in_the_history_even_before_it_is_read(client):
    request = submit(client, sync_mode=True)
    wait(client, request)
    assert item(client, request["request_id"])["json_output"] is None
    assert client.get(request["response_url"]).status_code == 200


def long(num_frames):
    """Arguments of a request whose file has megabytes."""
    size = {"width": 640, "height": 360}
    kind = {"video_output_type": "PRORES4444 (.mov)", "video_quality": "maximum", "video_write_mode": "fast"}
    return small(sync_mode=True, video_size=size, num_frames=num_frames, **kind)


def test_a_file_of_many_pieces_arrives_whole(client):
    """Several pieces of base64, of which only the last may be padded."""
    video = client.post(f"/run/{ENDPOINT}", json=long(25)).json()["video"]
    content = video_in(video["url"], "video/quicktime")
    assert len(content) == video["file_size"] > 2 << 20
    with av.open(io.BytesIO(content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 25


def test_a_reader_that_leaves_in_the_middle_may_come_again(client):
    request = client.post(f"/queue/{ENDPOINT}", json=long(121)).json()
    wait(client, request)
    address = urlsplit(request["response_url"])
    with socket.socket() as connection:
        # What the kernel holds for both sides has to be less than the file.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.connect((address.hostname, address.port))
        connection.sendall(f"GET {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        time.sleep(0.2)
    time.sleep(0.2)
    answer = client.get(request["response_url"])
    assert answer.status_code == 200
    video = answer.json()["video"]
    assert len(video_in(video["url"], "video/quicktime")) == video["file_size"] > 8 << 20
    eventually(lambda: client.get(request["response_url"]).status_code, 404)


def test_without_it_nothing_changes(client):
    for fields in ({}, {"sync_mode": False}):
        output = client.post(f"/run/{ENDPOINT}", json=small(**fields)).json()
        assert client.get(output["video"]["url"]).status_code == 200


def test_a_failure_of_sync_mode_stays(client):
    request = submit(client, sync_mode=True, image_url="data:image/png;base64,AAAA")
    wait(client, request)
    for _ in range(2):
        assert client.get(request["response_url"]).status_code == 422


def test_what_nobody_reads_in_time_is_deleted(tmp_path):
    """By the sweep of a server that runs, and by the next one for what came due while none did."""
    with serving(tmp_path, mock_seconds=0.05, sync_mode_seconds=1) as server:
        with server.client() as client:
            unread, kept = submit(client, sync_mode=True), submit(client)
            wait(client, unread)
            wait(client, kept)
            # What is kept has a poster beside it, what is for one reader has none.
            assert len(stored_files(server)) == 3
            eventually(lambda: len(stored_files(server)), 2)
            assert client.get(unread["response_url"]).status_code == 404
            assert client.get(unread["status_url"]).json()["status"] == "COMPLETED"
            assert client.get(kept["response_url"]).status_code == 200
            late = submit(client, sync_mode=True)
            wait(client, late)
        server.kill()
        assert len(stored_files(server)) == 3
        time.sleep(1)
        server.start()
        eventually(lambda: len(stored_files(server)), 2)
        with server.client() as client:
            assert client.get(late["response_url"]).status_code == 404
            assert client.get(kept["response_url"]).status_code == 200


PROGRAM = """
import base64, json, sys
import fal_client
endpoint, arguments = sys.argv[1], json.loads(sys.argv[2])
def told(result):
    head, _, content = result["video"]["url"].partition(",")
    return {"head": head, "size": len(base64.b64decode(content)), "file_size": result["video"]["file_size"]}
said = {"subscribe": told(fal_client.subscribe(endpoint, arguments=arguments))}
said["run"] = told(fal_client.run(endpoint, arguments=arguments))
handle = fal_client.submit(endpoint, arguments=arguments)
said["handle"] = told(handle.get())
try:
    fal_client.result(endpoint, handle.request_id)
except fal_client.FalClientHTTPError as error:
    said["again"] = error.status_code
print(json.dumps(said))
"""


def test_the_official_client_reads_it(server):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    said = server.run_client(PROGRAM, ENDPOINT, json.dumps(small(sync_mode=True)))
    assert said.pop("again", 404) == 404
    for call, found in said.items():
        assert found["head"] == "data:video/mp4;base64", call
        assert found["size"] == found["file_size"] > 0, call
