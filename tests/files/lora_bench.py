"""LoraFiles with a hub and a web server on loopback, for tests."""

import asyncio
import json
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from raw_http_server import RawServer

from fake_hub import FakeHub
from stillmotion.errors import InputError
from stillmotion.files.addresses import AllowList
from stillmotion.files.fetch import Fetcher
from stillmotion.files.lora_store import LoraStore
from stillmotion.files.loras import LoraFiles
from stillmotion.hub import Hub

LIMIT = 100_000


def lora(value: int = 0, count: int = 100) -> bytes:
    """A safetensors file with ``count`` numbers; another content for another value."""
    data = struct.pack(f"<{count}f", *[value] * count)
    header = json.dumps({"a.lora_A.weight": {"dtype": "F32", "shape": [count], "data_offsets": [0, len(data)]}})
    return struct.pack("<Q", len(header)) + header.encode() + data


class Bench:
    """LoraFiles with all that it asks; every call has a request's folder of its own."""

    def __init__(self, root: Path, hub: FakeHub, web: RawServer, **options: Any) -> None:
        self.root, self.hub, self.web = root, hub, web
        self.local: Path | None = root / "local"
        self.local.mkdir()
        self.options = {"cache_bytes": 1_000_000, "allow": (f"127.0.0.1:{web.port}",), "timeout": 20.0, **options}
        self.requests = 0
        self.open()

    def open(self) -> None:
        fetcher = Fetcher(AllowList.parse(self.options["allow"]), max_bytes=LIMIT, timeout=10.0, retries=0)
        self.files = LoraFiles(
            LoraStore(self.root / "store", self.options["cache_bytes"]),
            fetcher,
            Hub(url=self.hub.url, token="hf_allowed"),
            local_folder=self.local,
            max_bytes=LIMIT,
            timeout=self.options["timeout"],
        )

    async def close(self) -> None:
        await self.files.close()
        # A download that was given up learns of it with its next bytes.
        self.hub.stall.clear()
        self.hub.closing.set()
        for thread in threading.enumerate():
            if thread.name == "lora":
                await asyncio.to_thread(thread.join, 20)

    def folder(self) -> Path:
        self.requests += 1
        folder = self.root / "work" / str(self.requests)
        folder.mkdir(parents=True)
        return folder

    async def bring(self, source: str) -> Path:
        async with asyncio.timeout(30):
            return await self.files.bring(source, self.folder())

    async def content(self, source: str) -> bytes:
        return (await self.bring(source)).read_bytes()

    async def failure(self, source: str) -> InputError:
        with pytest.raises(InputError) as error:
            await self.bring(source)
        assert self.incoming() == []
        return error.value

    def kept(self) -> set[str]:
        return {path.stem for path in (self.root / "store" / "files").iterdir()}

    def incoming(self) -> list[Path]:
        return list((self.root / "store" / "incoming").iterdir())
