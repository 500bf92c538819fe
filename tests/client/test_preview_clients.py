"""Preview pictures asked for with fal's own clients, each in the way that it can send something beside the input."""

import json
import subprocess
import sys

import pytest
from js_client import need_js_client, run_js

from requirements import need_package
from serving import ENDPOINT, clean_environment, serving, small

PYTHON = f"""
import json, fal_client
arguments = json.loads({json.dumps(json.dumps(small()))})
asked = {{"X-Stillmotion-Preview": "1"}}
streamed = [event.get("preview") for event in fal_client.stream({ENDPOINT!r}, arguments, headers=asked)]
by_path = [event.get("preview") for event in fal_client.stream({ENDPOINT!r}, arguments, path="/stream?preview=1")]
plain = [event.get("preview") for event in fal_client.stream({ENDPOINT!r}, arguments)]
handle = fal_client.submit({ENDPOINT!r}, arguments, headers=asked)
while True:
    answer = handle.client.get(handle.response_url + "/preview")
    if answer.status_code == 200 or isinstance(handle.status(), fal_client.Completed):
        break
print(json.dumps([streamed, by_path, plain, answer.headers.get("content-type")]))
"""
NODE = f"""
import {{ fal }} from "@fal-ai/client";
const input = {json.dumps(small())};
const watch = async (options) => {{
  const stream = await fal.stream("{ENDPOINT}", {{ input, ...options }}), seen = [];
  for await (const event of stream) seen.push(event.preview ?? null);
  return seen;
}};
console.log(JSON.stringify([await watch({{ queryParams: {{ preview: "true" }} }}), await watch({{}})]));
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("previews"), mock_seconds=1.5, preview_seconds=0) as server:
        yield server


def command(server, *program):
    options = ("--url", server.https, "--data", str(server.data))
    return (sys.executable, "-m", "stillmotion", "exec", *options, "--", *program)


def are_pictures(seen):
    shown = [uri for uri in seen if uri is not None]
    return len(shown) > 1 and all(uri.startswith("data:image/jpeg;base64,/9j/") for uri in shown)


def test_python(server):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    run = command(server, sys.executable, "-c", PYTHON)
    done = subprocess.run(run, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    streamed, by_path, plain, type = json.loads(done.stdout)
    assert are_pictures(streamed)
    assert are_pictures(by_path)
    assert set(plain) == {None}
    assert type == "image/jpeg"


def test_javascript(server):
    need_js_client()
    asked, plain = run_js(NODE, env=clean_environment(), prefix=command(server))
    assert are_pictures(asked)
    assert set(plain) == {None}
