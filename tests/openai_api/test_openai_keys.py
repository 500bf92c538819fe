"""Keys of this server as OpenAI's bearer keys: whose a video is, and that others see nothing of it."""

import json
import subprocess
import sys

import pytest

from requirements import need_package
from serving import ENDPOINT, clean_environment, picture, serving

VIDEOS = "/openai/v1/videos"
WIDE = {"host": "127.1", "safety": "off", "mock_seconds": 0.05}
"""127.1 is 127.0.0.1 to the system and an address like any other to us: one that others reach."""
PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import openai
url, key, picture = sys.argv[1:]
with openai.OpenAI(api_key=key, base_url=url + "/openai/v1", max_retries=0) as client:
    video = client.videos.create_and_poll(prompt="mine", model="%s", size="64x64",
        input_reference=bytes.fromhex(picture), extra_body={"num_frames": 9}, poll_interval_ms=50)
    print(json.dumps([video.id, video.status, [each.id for each in client.videos.list()]]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("keys"), **WIDE) as server:
        yield server


def make_key(server, name):
    command = [sys.executable, "-m", "stillmotion", "keys", "create", name, "--data", str(server.data)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_videos_belong_to_their_key(server):
    need_package("openai", "pip install 'stillmotion[dev]'")
    alice, bob = make_key(server, "alice"), make_key(server, "bob")
    command = [sys.executable, "-c", PROGRAM % ENDPOINT, server.http, alice, picture().hex()]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    id, status, listed = json.loads(done.stdout)
    assert (status, listed) == ("completed", [id])
    asked = [
        ("GET", f"{VIDEOS}/{id}"),
        ("GET", f"{VIDEOS}/{id}/content"),
        ("GET", f"{VIDEOS}/{id}/content?variant=thumbnail"),
        ("POST", f"{VIDEOS}/{id}/remix"),
        ("GET", f"{VIDEOS}?after={id}"),
        ("DELETE", f"{VIDEOS}/{id}"),
    ]
    with server.client() as client:
        for key, status, code in (
            (None, 401, "invalid_api_key"),
            ("a:b", 401, "invalid_api_key"),
            (bob, 404, "not_found"),
        ):
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            for method, path in asked:
                answer = client.request(method, path, headers=headers)
                assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), (method, path)
        assert client.get(VIDEOS, headers={"authorization": f"Bearer {bob}"}).json()["data"] == []
        assert (
            client.get(f"{VIDEOS}/{id}", headers={"authorization": f"Bearer {alice}"}).json()["status"] == "completed"
        )
