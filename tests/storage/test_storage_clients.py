"""The published Python client, unchanged, and the requests of the JavaScript client from Node, under ``exec``."""

import json
import subprocess
import sys
from typing import Any

import pytest

from requirements import need_package, need_program
from serving import Server, clean_environment

LARGE = 101
"""MiB. The Python client sends in parts above 100."""

SYNC = f"""
import hashlib, json, pathlib, sys, tempfile
import fal_client, httpx
from PIL import Image

def fetched(url):
    answer = httpx.get(url)
    return [url, answer.headers["content-type"], hashlib.sha256(answer.content).hexdigest(), len(answer.content)]

large = bytes(range(256)) * 4096 * {LARGE}
file = pathlib.Path(tempfile.mkdtemp(), "hello.txt")
file.write_text("hello")
image = Image.linear_gradient("L").convert("RGB")
settings = fal_client.client.StorageSettings(expires_in="1h")
found = [
    fetched(fal_client.upload(b"hello", "text/plain")),
    fetched(fal_client.upload(b"hello", "text/plain", file_name="hello.txt", lifecycle=settings)),
    fetched(fal_client.upload(b"hello", "text/plain", file_name="hello.txt", repository="fal", lifecycle=settings)),
    fetched(fal_client.upload_file(file)),
    fetched(fal_client.upload_image(image, format="png")),
    fetched(fal_client.upload(large, "application/octet-stream", file_name="large.bin")),
]
arguments = json.loads(sys.argv[1])
made = fal_client.subscribe("fal-ai/ltx-2-19b/image-to-video", {{**arguments, "image_url": found[4][0]}})
print(json.dumps([found, hashlib.sha256(large).hexdigest(), made["video"]["width"]]))
"""

ASYNC = f"""
import asyncio, hashlib, json, pathlib, sys, tempfile
import fal_client, httpx
from PIL import Image

async def main():
    client = fal_client.AsyncClient()
    async with httpx.AsyncClient() as web:
        async def fetched(url):
            answer = await web.get(url)
            digest = hashlib.sha256(answer.content).hexdigest()
            return [url, answer.headers["content-type"], digest, len(answer.content)]

        large = bytes(range(256)) * 4096 * {LARGE}
        file = pathlib.Path(tempfile.mkdtemp(), "hello.txt")
        file.write_text("hello")
        big = file.with_name("large.bin")
        big.write_bytes(large)
        settings = fal_client.client.StorageSettings(expires_in="1h")
        named = dict(file_name="hello.txt", lifecycle=settings)
        found = [
            await fetched(await client.upload(b"hello", "text/plain")),
            await fetched(await client.upload(b"hello", "text/plain", **named)),
            await fetched(await client.upload(b"hello", "text/plain", repository="fal", **named)),
            await fetched(await client.upload_file(file)),
            await fetched(await client.upload_image(Image.linear_gradient("L").convert("RGB"), format="png")),
            await fetched(await client.upload_file(big)),
        ]
        arguments = json.loads(sys.argv[1]) | {{"image_url": found[4][0]}}
        made = await client.subscribe("fal-ai/ltx-2-19b/image-to-video", arguments)
        print(json.dumps([found, hashlib.sha256(large).hexdigest(), made["video"]["width"]]))

asyncio.run(main())
"""

NODE = """
import { createHash } from "node:crypto";
const PART = 10 * 1024 * 1024;
const rest = (path, body) => fetch(`https://rest.fal.ai/storage/upload/${path}?storage_type=fal-cdn-v3`, {
  method: "POST",
  headers: {
    authorization: "Key a:b", accept: "application/json", "content-type": "application/json",
    "x-fal-object-lifecycle": JSON.stringify({ expiration_duration_seconds: 3600 }),
  },
  body: JSON.stringify(body),
}).then((answer) => answer.json());
const json = async (answer) => {
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
};

async function single(blob, name) {
  const { upload_url, file_url } = await rest("initiate", { content_type: blob.type, file_name: name });
  await json(await fetch(upload_url, { method: "PUT", body: blob, headers: { "content-type": blob.type } }));
  return file_url;
}

async function multipart(blob, name) {
  const { upload_url, file_url } = await rest("initiate-multipart", { content_type: blob.type, file_name: name });
  const url = new URL(upload_url);
  const parts = [];
  for (let number = 1; (number - 1) * PART < blob.size; number++) {
    const part = blob.slice((number - 1) * PART, number * PART);
    const target = `${url.origin}${url.pathname}/${number}${url.search}`;
    const { partNumber, etag } = await json(await fetch(target, { method: "PUT", body: part }));
    parts.push({ partNumber, etag });
  }
  await json(await fetch(`${url.origin}${url.pathname}/complete${url.search}`, {
    method: "POST",
    headers: { accept: "application/json", "content-type": "application/json" },
    body: JSON.stringify({ parts }),
  }));
  return file_url;
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
async function fetched(url) {
  const answer = await fetch(url);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  return [url, answer.headers.get("content-type"), sha256(bytes), bytes.length];
}

const large = new Uint8Array(2.5 * PART).map((_, index) => (index * 31) >> 7);
const type = "application/octet-stream";
console.log(JSON.stringify([
  [
    await fetched(await single(new Blob(["hello"], { type: "text/plain" }), "hello.txt")),
    await fetched(await single(new Blob([large], { type }), "1732110000000.octet")),
    await fetched(await multipart(new Blob([large], { type }), "large.bin")),
  ],
  sha256(large),
]));
"""

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
ARGUMENTS = {"prompt": "x", "video_size": {"width": 64, "height": 64}, "num_frames": 9, "num_inference_steps": 8}


def execute(server: Server, *command: str) -> Any:
    """Runs a program that knows nothing of this project; returns the JSON that it prints last."""
    exec_ = [sys.executable, "-m", "stillmotion", "exec", "--url", server.https, "--data", str(server.data), "--"]
    done = subprocess.run([*exec_, *command], env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("program", [SYNC, ASYNC], ids=["sync", "async"])
def test_the_python_client(server, program):
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    found, digest, width = execute(server, sys.executable, "-c", program, json.dumps(ARGUMENTS))
    assert all(url.startswith("https://v3.fal.media/files/b/") for url, *_ in found)
    assert [found[place][1:] for place in range(4)] == [["text/plain", HELLO, 5]] * 4
    assert [url.rpartition("_")[2] for url, *_ in found] == [
        "upload.txt",
        "hello.txt",
        "hello.txt",
        "hello.txt",
        "upload.png",
        "large.bin",
    ]
    assert found[4][1] == "image/png"
    assert found[5][1:] == ["application/octet-stream", digest, LARGE << 20]
    assert width == 64


def test_the_javascript_clients_requests(server):
    found, digest = execute(server, need_program("node"), "--input-type=module", "-e", NODE)
    size = 25 << 20
    assert [each[1:] for each in found] == [
        ["text/plain", HELLO, 5],
        ["application/octet-stream", digest, size],
        ["application/octet-stream", digest, size],
    ]
    names = ["hello.txt", "1732110000000.octet", "large.bin"]
    assert all(url.startswith("https://v3.fal.media/files/b/") for url, *_ in found)
    assert [url.rpartition("_")[2] for url, *_ in found] == names
