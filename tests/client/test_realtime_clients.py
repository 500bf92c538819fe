"""Realtime connections of both of fal's clients, under exec and by path."""

import json
import subprocess
import sys

import pytest
from js_client import need_js_client, run_js

from requirements import need_package
from serving import ENDPOINT, clean_environment, serving, small

PYTHON = f"""
import asyncio, json, sys, fal_client
arguments = json.loads(sys.argv[1])
said = {{}}
with fal_client.SyncClient().realtime({ENDPOINT!r}, use_jwt=sys.argv[2] == "token") as connection:
    connection.send({{**arguments, "seed": 7}})
    connection.send({{**arguments, "request_id": "mine", "num_frames": 17}})
    connection.send({{**arguments, "num_frames": -1}})
    said["answers"] = [connection.recv(), connection.recv()]
    try:
        connection.recv()
    except fal_client.client.RealtimeError as error:
        said["error"] = [error.error, error.payload["detail"][0]["loc"]]

async def main():
    async with fal_client.AsyncClient().realtime({ENDPOINT!r}, use_jwt=False, max_buffering=2) as connection:
        await connection.send(arguments)
        said["async"] = await connection.recv()

asyncio.run(main())
print(json.dumps(said))
"""
JAVASCRIPT = """
import { createFalClient } from "@fal-ai/client";
const [endpoint, argument, base] = process.argv.slice(1);
if (base) {
  // Beside `exec`, a program sends the one fixed address of the client elsewhere itself.
  const Native = WebSocket;
  globalThis.WebSocket = class extends Native {
    constructor(url) { super(url.replace("wss://fal.run", `${base.replace("http", "ws")}/run`)); }
  };
}
const fal = createFalClient(base ? { proxyUrl: { url: `${base}/api/fal/proxy`, when: "always" } } : {});
console.warn = () => {};
const input = JSON.parse(argument);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const late = [];

const open = (options) => {
  const waiting = [];
  const told = (value) => (waiting.length ? waiting.shift()(value) : late.push(value));
  const connection = fal.realtime.connect(endpoint, {
    throttleInterval: 0,
    onResult: (result) => told({ result }),
    onError: (error) => told({ error: [error.status, error.message, error.body] }),
    ...options,
  });
  const ask = (message) => new Promise((resolve) => { waiting.push(resolve); connection.send(message); });
  return { ask, close: connection.close };
};

const binary = open({});
const first = await binary.ask({ ...input, request_id: "one" });
const both = [binary.ask({ ...input, seed: 7 }), binary.ask({ ...input, num_frames: -1 })];
const [second, third] = await Promise.all(both);
binary.close();
await pause(300);
const closedWith = [...late];

const text = open({ encodeMessage: (message) => JSON.stringify(message), maxBuffering: 2 });
const fourth = await text.ask({ ...input, seed: 8 });
text.close();

const tokens = [];
const tokenProvider = async (app) => { tokens.push(app); return "not a token"; };
const stranger = open({ tokenProvider });
const refused = await stranger.ask(input);

const streamed = base ? null : await (await fal.stream(endpoint, { input, connectionMode: "client" })).done();
console.log(JSON.stringify({ first, second, third, fourth, tokens, refused, streamed, closedWith }));
process.exit(0);
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("realtime"), mock_seconds=0.05) as server:
        yield server


@pytest.fixture
def under_exec(server):
    own = [sys.executable, "-m", "stillmotion", "exec", "--url", server.https, "--data", str(server.data), "--"]
    return tuple(own)


def check_python(said, origin):
    first, second = said["answers"]
    assert (first["seed"], first["video"]["num_frames"]) == (7, 9)
    assert (second["request_id"], second["video"]["num_frames"]) == ("mine", 17)
    assert first["request_id"] != second["request_id"]
    assert said["error"] == ["greater_than_equal", ["body", "num_frames"]]
    for answer in (first, second, said["async"]):
        assert answer["video"]["url"].startswith(f"{origin}/files/")


def test_the_python_client_under_exec(server, under_exec):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    command = [*under_exec, sys.executable, "-c", PYTHON, json.dumps(small()), "token"]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    check_python(json.loads(done.stdout), "https://v3.fal.media")


def test_the_python_client_by_path(server):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    check_python(server.run_client(PYTHON, json.dumps(small()), "key"), server.https)


def node_options():
    """Node has WebSocket from 22 on; 20 has the same one behind a flag."""
    return {"NODE_OPTIONS": "--experimental-websocket"}


def check_javascript(said, origin):
    assert said["first"]["result"]["request_id"] == "one"
    assert said["second"]["result"]["seed"] == 7
    assert said["fourth"]["result"]["seed"] == 8
    for each in ("first", "second", "fourth"):
        assert said[each]["result"]["video"]["url"].startswith(f"{origin}/files/")
    status, message, body = said["third"]["error"]
    assert (status, message.partition(":")[0]) == (400, "greater_than_equal")
    assert (body["status_code"], body["detail"][0]["loc"]) == (422, ["body", "num_frames"])
    assert said["closedWith"] == []
    # It was told that its token is none, which makes it ask for another the next time.
    assert said["tokens"] == [f"{ENDPOINT}/realtime"]
    assert said["refused"]["error"][:2] == [1008, "Error closing the connection: Unauthorized"]


def test_the_javascript_client_under_exec(server, under_exec):
    need_js_client()
    env = clean_environment(node_options())
    said = run_js(JAVASCRIPT, ENDPOINT, json.dumps(small()), env=env, prefix=under_exec)
    check_javascript(said, "https://v3.fal.media")
    assert said["streamed"]["video"]["num_frames"] == 9


def test_the_javascript_client_by_path(server):
    need_js_client()
    said = run_js(JAVASCRIPT, ENDPOINT, json.dumps(small()), server.http, env=clean_environment(node_options()))
    check_javascript(said, server.http)
