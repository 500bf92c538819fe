"""Every public method of fal's Python client, synchronous or asynchronous, against one server. A program that knows
nothing of this project: it runs where its environment leads it.

Each row asserts what it sees; printed are the rows, with the traceback of those that failed, and what of the client
was used.
"""

import asyncio
import hashlib
import json
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fal_client
import httpx
from noted_client import Noted, used
from PIL import Image

told = json.loads(sys.argv[1])
KIND, ENDPOINT, SMALLEST, LARGE = told["kind"], told["endpoint"], told["arguments"], told["large"]
PATIENCE = 60.0
IMAGE = Image.linear_gradient("L").convert("RGB")
FOLDER = Path(LARGE["path"]).parent
HELLO, PICTURE = FOLDER / "hello.txt", FOLDER / "picture.png"
HELLO.write_text("hello")
IMAGE.save(PICTURE)
SLOW = {**SMALLEST, "prompt": "slow"}  # a rule of the server has it wait for a minute
# Its steps are soon done, and then it writes 20 seconds of video: there is progress, and much time to leave.
LONG = {**SMALLEST, "num_inference_steps": 50, "num_frames": 481, "video_size": {"width": 1280, "height": 704}}

retries: list[str] = []
others_may = asyncio.Event()


BLOCKING = KIND == "sync"
client = Noted(fal_client.SyncClient() if BLOCKING else fal_client.AsyncClient(), blocking=BLOCKING)


def is_video(output: dict[str, Any]) -> None:
    video = output["video"]
    assert video["content_type"] == "video/mp4"
    assert (video["width"], video["height"], video["num_frames"]) == (64, 64, SMALLEST["num_frames"])


async def failure(doing: Awaitable[Any], kind: type[Exception] = fal_client.FalClientHTTPError) -> Any:
    try:
        await doing
    except kind as error:
        return error
    raise AssertionError("it was to fail")


async def ended(request_id: str) -> fal_client.Completed:
    end = time.monotonic() + PATIENCE
    while not isinstance(status := await client.status(ENDPOINT, request_id), fal_client.Completed):
        assert time.monotonic() < end, f"request {request_id} did not end"
        await asyncio.sleep(0.05)
    return status


async def fetched(url: str) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    async with httpx.AsyncClient(timeout=PATIENCE) as web, web.stream("GET", url) as answer:
        assert answer.status_code == 200
        async for chunk in answer.aiter_bytes():
            digest.update(chunk)
            size += len(chunk)
    seconds = int(answer.headers["cache-control"].split("max-age=")[1].split(",")[0])
    found = {"name": url.rpartition("_")[2], "type": answer.headers["content-type"], "seconds": seconds}
    return {**found, "size": size, "digest": digest.hexdigest()}


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def run() -> None:
    headers = {"X-Fal-Object-Lifecycle-Preference": json.dumps({"expiration_duration_seconds": 3600})}
    output = await client.run(ENDPOINT, SMALLEST, timeout=PATIENCE, start_timeout=60, hint="a-hint", headers=headers)
    is_video(output)
    file = await fetched(output["video"]["url"])
    assert file["size"] == output["video"]["file_size"]
    assert file["seconds"] <= 3600
    application, _, path = ENDPOINT.rpartition("/")
    is_video(await client.run(application, SMALLEST, method="PUT", path=path))
    # By GET the client leaves the arguments out.
    error = await failure(client.run(ENDPOINT, SMALLEST, method="GET"))
    assert {detail["type"] for detail in error.response.json()["detail"]} == {"missing"}


async def subscribe() -> None:
    enqueued: list[str] = []
    updates: list[fal_client.Status] = []
    output = await client.subscribe(
        ENDPOINT,
        SMALLEST,
        hint="a-hint",
        with_logs=True,
        interval=0.02,
        on_enqueue=enqueued.append,
        on_queue_update=updates.append,
        priority="low",
        headers={"X-Fal-Tags": "a=b"},
        start_timeout=60,
        client_timeout=PATIENCE,
    )
    is_video(output)
    last = updates[-1]
    assert isinstance(last, fal_client.Completed)
    assert any("mock engine" in line["message"] for line in last.logs or [])
    assert await client.result(ENDPOINT, enqueued[0]) == output


async def subscribe_timed_out() -> None:
    """Alone until its request is submitted: the client's time runs from before that."""
    enqueued: list[str] = []
    loop = asyncio.get_running_loop()

    def on_enqueue(request_id: str) -> None:
        enqueued.append(request_id)
        loop.call_soon_threadsafe(others_may.set)

    doing = client.subscribe(ENDPOINT, SLOW, start_timeout=60, client_timeout=3, on_enqueue=on_enqueue)
    error = await failure(doing, fal_client.FalClientTimeoutError)
    assert error.request_id == enqueued[0]
    assert (await ended(enqueued[0])).error_type == "client_cancelled"


async def queue() -> None:
    handle = await client.submit(
        ENDPOINT, SMALLEST, hint="a-hint", priority="normal", headers={"X-Fal-No-Retry": "1"}, start_timeout=60
    )
    kinds = [type(status) async for status in handle.iter_events(with_logs=True, interval=0.02)]
    assert kinds[-1] is fal_client.Completed
    assert set(kinds) <= {fal_client.Queued, fal_client.InProgress, fal_client.Completed}
    output = await handle.get(interval=0.02)
    is_video(output)
    without, with_logs = await handle.status(), await handle.status(with_logs=True)
    assert without.logs is None
    assert without.error is None
    assert without.metrics["inference_time"] > 0
    assert len(with_logs.logs) > 1
    # The URLs that the server answers are those that the client builds itself.
    again = await client.get_handle(ENDPOINT, handle.request_id)
    assert again.it == handle.it
    web = httpx.AsyncClient() if KIND == "async" else httpx.Client()
    rebuilt = await handle.from_request_id(web, ENDPOINT, handle.request_id)
    assert rebuilt.it.response_url == handle.response_url
    assert await client.status(ENDPOINT, handle.request_id) == without
    assert await client.status(ENDPOINT, handle.request_id, with_logs=True) == with_logs
    assert await client.result(ENDPOINT, handle.request_id) == output
    await (web.aclose() if KIND == "async" else asyncio.to_thread(web.close))


async def cancel() -> None:
    for by_handle in (True, False):
        handle = await client.submit(ENDPOINT, SLOW)
        await (handle.cancel() if by_handle else client.cancel(ENDPOINT, handle.request_id))
        assert (await ended(handle.request_id)).error_type == "client_cancelled"
        error = await failure(handle.get())
        assert (error.status_code, error.error_type) == (499, "client_cancelled")
        assert (await failure(handle.cancel())).status_code == 400
    for ask in (client.status, client.result, client.cancel):
        assert (await failure(ask(ENDPOINT, "none"))).status_code == 404


async def start_deadline() -> None:
    busy = [await client.submit(ENDPOINT, SLOW) for _ in range(told["slots"])]
    # The client's own ``start_timeout`` is above a second.
    late = await client.submit(ENDPOINT, SLOW, headers={"X-Fal-Request-Start-Timeout": "0.2"})
    error = await failure(late.get())
    assert (error.status_code, error.error_type) == (504, "request_timeout")
    assert error.response_headers["x-fal-request-timeout-type"] == "user"
    for handle in busy:
        await handle.cancel()


async def errors() -> None:
    for call in (client.run, client.subscribe):
        invalid = await failure(call(ENDPOINT, {**SMALLEST, "num_frames": -1}))
        assert invalid.status_code == 422
        assert invalid.response.json()["detail"][0]["loc"] == ["body", "num_frames"]
        refused = await failure(call(ENDPOINT, {**SMALLEST, "prompt": "refused"}))
        assert refused.response.json()["detail"][0]["type"] == "content_policy_violation"
        broken = await failure(call(ENDPOINT, {**SMALLEST, "prompt": "broken"}))
        assert (broken.status_code, broken.error_type) == (500, "runner_server_error")
        assert str(broken) == "CUDA error"
        unknown = await failure(call("fal-ai/unknown", {}))
        assert (unknown.status_code, unknown.message) == (404, "Application 'fal-ai/unknown' not found")


async def retries_on_429() -> None:
    """Where nobody may wait, nobody is let in while somebody does; and then on one of the further tries."""
    waiting = [await client.submit(ENDPOINT, SLOW) for _ in range(told["slots"] + 1)]
    doing = asyncio.ensure_future(client.submit(ENDPOINT, SMALLEST, path="?fal_max_queue_length=0"))
    end = time.monotonic() + PATIENCE
    while not retries:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    for handle in waiting:
        await handle.cancel()
    is_video(await (await doing).get())


async def webhook() -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        received.set_result(await reader.readexactly(size))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(receive, "127.0.0.1", 0) as receiver:
        url = f"http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}/hook?a=b"
        handle = await client.submit(ENDPOINT, SMALLEST, webhook_url=url)
        body = json.loads(await asyncio.wait_for(received, PATIENCE))
    assert (body["request_id"], body["status"]) == (handle.request_id, "OK")
    is_video(body["payload"])


async def stream() -> None:
    *progress, output = [event async for event in client.stream(ENDPOINT, SMALLEST, timeout=PATIENCE)]
    is_video(output)
    percents = [event["percent"] for event in progress if "percent" in event]
    assert percents
    assert percents == sorted(percents)


async def stream_left() -> None:
    events = client.stream(ENDPOINT, LONG)
    async for event in events:
        if event.get("percent", 0) > 0:
            break
    await events.aclose()
    assert (await ended(event["request_id"])).error_type == "client_cancelled"


async def encode() -> None:
    content = await asyncio.to_thread(PICTURE.read_bytes)
    found = {}
    for name, given in {"encode": (content, "image/png"), "encode_file": (PICTURE,), "encode_image": (IMAGE,)}.items():
        used.add(name)
        found[name] = getattr(fal_client, name)(*given)
    assert found["encode"] == found["encode_file"]
    for uri in (found["encode"], found["encode_image"]):
        is_video(await client.run(ENDPOINT, {**SMALLEST, "image_url": uri}))


async def upload() -> None:
    hour = fal_client.StorageSettings(
        expires_in="1h",
        initial_acl=fal_client.StorageACL(
            default="allow", rules=[fal_client.StorageACLRule(user="somebody", decision="allow")]
        ),
    )
    named = {"file_name": "hello.txt", "lifecycle": hour}
    found = [
        await fetched(url)
        for url in (
            await client.upload(b"hello", "text/plain"),
            await client.upload("hello", "text/plain", **named),
            await client.upload(b"hello", "text/plain", repository="fal", **named),
            await client.upload(b"hello", "text/plain", repository="fal_v3", fallback_repository="fal", **named),
            await client.upload_file(HELLO, lifecycle=hour),
        )
    ]
    assert [each["name"] for each in found] == ["upload.txt", *["hello.txt"] * 4]
    assert {(each["type"], each["digest"]) for each in found} == {("text/plain", digest_of(b"hello"))}
    assert [each["seconds"] <= 3600 for each in found] == [False, *[True] * 4]

    urls = [await client.upload_image(IMAGE, format=format, lifecycle=hour) for format in ("jpeg", "png", "webp")]
    assert [(await fetched(url))["type"] for url in urls] == ["image/jpeg", "image/png", "image/webp"]
    is_video(await client.subscribe(ENDPOINT, {**SMALLEST, "image_url": urls[1]}, interval=0.02))


async def upload_in_parts() -> None:
    path = Path(LARGE["path"])
    if KIND == "sync":  # from memory, where it takes twice its size
        content = await asyncio.to_thread(path.read_bytes)
        url = await client.upload(content, LARGE["type"], path.name)
    else:
        url = await client.upload_file(path)
    found = await fetched(url)
    assert (found["digest"], found["size"]) == (LARGE["digest"], LARGE["size"])
    assert (found["type"], found["name"]) == (LARGE["type"], path.name)
    assert LARGE["size"] > 100 << 20


async def within_an_app() -> None:
    used.add("set_get_current_app")
    fal_client.set_get_current_app(lambda: None)
    is_video(await client.run(ENDPOINT, SMALLEST))


async def realtime() -> None:
    for use_jwt in (True, False):
        async with client.realtime(ENDPOINT, use_jwt=use_jwt, max_buffering=2, token_expiration=60) as connection:
            await connection.send(SMALLEST)
            is_video(await connection.recv())
            await connection.close()


async def ws_connect() -> None:
    async with client.ws_connect(ENDPOINT, path="/realtime", use_jwt=True) as connection:
        await connection.send(json.dumps(SMALLEST))
        answer = await connection.recv()
        assert b"video" in (answer if isinstance(answer, bytes) else answer.encode())


ROWS: dict[str, Callable[[], Awaitable[None]]] = {
    row.__name__: row
    for row in (
        run,
        subscribe,
        subscribe_timed_out,
        queue,
        cancel,
        start_deadline,
        errors,
        retries_on_429,
        webhook,
        stream,
        stream_left,
        encode,
        upload,
        upload_in_parts,
        within_an_app,
        realtime,
        ws_connect,
    )
}


async def attempt(name: str) -> str | None:
    if name != subscribe_timed_out.__name__:
        await others_may.wait()
    try:
        await asyncio.wait_for(ROWS[name](), 2 * PATIENCE)
    except Exception:
        return traceback.format_exc()
    finally:
        others_may.set()
    return None


class Retries(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if "Retrying request" in (message := record.getMessage()):
            retries.append(message)


async def main() -> None:
    warnings.simplefilter("ignore")  # a start deadline above the client's own is worth a warning to it
    log = logging.getLogger("fal_client.client")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(Retries())
    # Calls that block wait for others: a thread for each, or those that would end the waiting find none.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
    rows = [row for row in ROWS if row in told.get("only", ROWS)]
    if subscribe_timed_out.__name__ not in rows:
        others_may.set()
    faults = await asyncio.gather(*map(attempt, rows))
    print(json.dumps({"rows": dict(zip(rows, faults, strict=True)), "used": sorted(used)}))


asyncio.run(main())
