"""One gigabyte sent to the storage: what it adds to the server's memory, and how fast it goes."""

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
from platform_process import HOST, PlatformProcess, platform_process

from bench.report import Section
from stillmotion.edge.server import run

SIZE = 1 << 30
BLOCK = 1 << 20
PARTS, PART = 103, 10 << 20
"""Of ten megabytes, as fal's clients cut files."""
TOGETHER = 10
METHOD = f"""A file of 1 GiB in one body to `/cdn/files/upload`, then as {PARTS} parts of at most 10 MiB, {TOGETHER} at
once and out of order, completed and read back with its hash compared. Extra memory is the growth of the highest
resident memory of the server process (VmHWM) over what it was when the server was ready."""


def bench() -> Section:
    with tempfile.TemporaryDirectory(prefix="stillmotion-bench-") as folder:
        return run(_measure(Path(folder)))


async def _measure(folder: Path) -> Section:
    rows = []
    for name, send in (("one body", _one_body), (f"{PARTS} parts, {TOGETHER} at once", _in_parts)):
        async with platform_process(_new(folder, name.split()[0]), max_upload_bytes=2 * SIZE) as server:
            idle = _highest(server)
            async with httpx2.AsyncClient(
                base_url=f"http://{HOST}:{server.port}", timeout=120, trust_env=False
            ) as client:
                began = time.perf_counter()
                url = await send(client)
                seconds = time.perf_counter() - began
                extra = _highest(server) - idle
                await _same(client, url)
            rows.append(
                (name, f"{extra / (1 << 20):.0f} MiB extra memory (goal <= 32), {SIZE / seconds / 1e6:,.0f} MB/s")
            )
    return Section(title="an upload of 1 GiB", method=METHOD, rows=rows)


def _new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _content(start: int, size: int) -> bytes:
    """Bytes that differ from block to block, without a gigabyte of them in memory."""
    block = hashlib.sha256(start.to_bytes(8, "big")).digest() * (BLOCK // 32)
    return block[:size]


async def _blocks(start: int, end: int) -> AsyncIterator[bytes]:
    for at in range(start, end, BLOCK):
        yield _content(at, min(BLOCK, end - at))


async def _one_body(client: httpx2.AsyncClient) -> str:
    headers = {"content-type": "video/mp4", "content-length": str(SIZE)}
    answer = await client.post("/cdn/files/upload", content=_blocks(0, SIZE), headers=headers)
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["access_url"]
    return url


async def _in_parts(client: httpx2.AsyncClient) -> str:
    begun = (await client.post("/cdn/files/upload/multipart", headers={"content-type": "video/mp4"})).json()
    url: str = begun["access_url"]
    base = f"{url}/multipart/{begun['uploadId']}"
    gate = asyncio.Semaphore(TOGETHER)

    async def put(number: int) -> dict[str, Any]:
        start = (number - 1) * PART
        end = min(start + PART, SIZE)
        async with gate:
            answer = await client.put(
                f"{base}/{number}", content=_blocks(start, end), headers={"content-length": str(end - start)}
            )
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    # The last ones first: parts may come in any order.
    parts = await asyncio.gather(*(put(number) for number in range(PARTS, 0, -1)))
    answer = await client.post(f"{base}/complete", json={"parts": parts})
    assert answer.status_code == 200, answer.text
    return url


async def _same(client: httpx2.AsyncClient, url: str) -> None:
    sent, got = hashlib.sha256(), hashlib.sha256()
    async for block in _blocks(0, SIZE):
        sent.update(block)
    async with client.stream("GET", url) as answer:
        async for block in answer.aiter_bytes():
            got.update(block)
    assert got.digest() == sent.digest(), "another file came back"


def _highest(server: PlatformProcess) -> int:
    """Bytes of the highest resident memory so far."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise FileNotFoundError("this system does not tell a process's highest memory")
