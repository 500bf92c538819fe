"""Streams, deadlines and priorities with programs that know nothing of this project."""

import json
import subprocess
import sys

import pytest

from requirements import need_package, need_program
from serving import clean_environment, data_uri, picture, serving

ENDPOINT = "fal-ai/ltx-2-19b/image-to-video"
ARGUMENTS = {
    "prompt": "x",
    "image_url": data_uri(picture()),
    "video_size": {"width": 64, "height": 64},
    "num_frames": 9,
}
SYNC = f"""
import json, fal_client
arguments = json.loads({json.dumps(json.dumps(ARGUMENTS))})
*steps, output = fal_client.stream({ENDPOINT!r}, arguments)
low = fal_client.submit({ENDPOINT!r}, arguments, priority="low", hint="mine", start_timeout=60)
busy = [fal_client.submit({ENDPOINT!r}, arguments) for _ in range(3)]
late = fal_client.submit({ENDPOINT!r}, arguments, start_timeout=1.1, priority="low")
try:
    late.get()
except fal_client.client.FalClientHTTPError as error:
    told = [error.status_code, error.error_type]
print(json.dumps([steps, output, told, low.get()]))
for each in busy:
    each.get()
"""
ASYNC = f"""
import asyncio, json, fal_client
arguments = json.loads({json.dumps(json.dumps(ARGUMENTS))})
async def main():
    events = [event async for event in fal_client.stream_async({ENDPOINT!r}, arguments)]
    print(json.dumps([events[:-1], events[-1]]))
asyncio.run(main())
"""
NODE = f"""
const read = async (response) => {{
  const text = await response.text();
  return text.split("\\n\\n").filter((block) => block.startsWith("data: ")).map((block) => JSON.parse(block.slice(6)));
}};
const body = JSON.stringify({json.dumps(ARGUMENTS)});
const headers = {{ "content-type": "application/json", "x-fal-queue-priority": "normal" }};
const options = {{ method: "POST", headers, body }};
const submitted = await (await fetch("https://queue.fal.run/{ENDPOINT}", options)).json();
const followed = await fetch(submitted.status_url + "/stream?logs=1");
const streamed = await fetch("https://fal.run/{ENDPOINT}/stream", {{ ...options, headers: {{
  ...headers, accept: "text/event-stream" }} }});
console.log(JSON.stringify([
  followed.headers.get("content-type"), followed.headers.get("x-fal-request-id") === submitted.request_id,
  await read(followed), await read(streamed)]));
"""


@pytest.fixture(scope="module")
def execute(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("streams"), mock_slots=1, mock_seconds=0.8) as server:

        def run(*command):
            options = ("--url", server.https, "--data", str(server.data))
            done = subprocess.run(
                [sys.executable, "-m", "stillmotion", "exec", *options, "--", *command],
                env=clean_environment(),
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert (done.returncode, done.stderr) == (0, "")
            return json.loads(done.stdout)

        yield run


def assert_is_progress(steps):
    assert len(steps) > 3
    assert [step["percent"] for step in steps] == sorted(step["percent"] for step in steps)


def test_the_python_client(execute):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    steps, output, told, low = execute(sys.executable, "-c", SYNC)
    assert_is_progress(steps)
    assert output["video"]["url"].startswith("https://v3.fal.media/files/")
    assert told == [504, "request_timeout"]
    assert low["video"]["num_frames"] == 9


def test_the_asynchronous_python_client(execute):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    steps, output = execute(sys.executable, "-c", ASYNC)
    assert_is_progress(steps)
    assert output["video"]["num_frames"] == 9


def test_node_with_nothing_but_its_own_fetch(execute):
    need_program("node")
    type, named, followed, streamed = execute("node", "--input-type=module", "-e", NODE)
    assert (type, named) == ("text/event-stream", True)
    assert followed[-1]["status"] == "COMPLETED"
    assert next(line["message"] for event in followed for line in event["logs"]).startswith("attempt 1")
    assert_is_progress(streamed[:-1])
    assert streamed[-1]["video"]["num_frames"] == 9
