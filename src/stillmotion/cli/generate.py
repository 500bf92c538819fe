"""``stillmotion generate``: one request, with an engine of its own or on a running server."""

import asyncio
import base64
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from stillmotion.api.faults import error_body
from stillmotion.app import Platform, platform
from stillmotion.cli import log
from stillmotion.cli.client_env import LOCAL_KEY
from stillmotion.errors import ConfigurationError, StillmotionError
from stillmotion.media.probe import read_settings
from stillmotion.service.faults import stored
from stillmotion.service.view import View
from stillmotion.settings import Settings

TENANT = "local"
POLL_SECONDS = 0.25
VIDEOS = frozenset({".mp4", ".webm", ".mov", ".gif"})


def generate_once(endpoint: str, source: Path, target: Path, *, url: str | None, **flags: Any) -> int:
    body = _read(source)
    with _Display() as display:
        if url is not None:
            return asyncio.run(_on_server(url.rstrip("/"), endpoint, body, target, display))
        with tempfile.TemporaryDirectory(prefix="stillmotion-") as data:
            settings = Settings.load(data=Path(data), **flags)
            log.configure("error")
            return asyncio.run(_here(settings, endpoint, body, target, display))


class _Display(Progress):
    """One line on stderr: a bar of the denoising steps, and what was logged last."""

    def __init__(self) -> None:
        columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        super().__init__(*columns, console=Console(stderr=True), transient=True)
        self._bar = self.add_task("starting …", total=None)

    def show(self, message: str) -> None:
        self.update(self._bar, description=message)

    def step(self, done: int, total: int) -> None:
        self.update(self._bar, completed=done, total=total)


def _read(source: Path) -> dict[str, Any]:
    try:
        if source.suffix.lower() in VIDEOS:
            return _read_video(source)
        body = json.loads(sys.stdin.read() if str(source) == "-" else source.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{source} cannot be read as JSON: {error}") from None
    if not isinstance(body, dict):
        raise ConfigurationError(f"{source} must hold a JSON object")
    return body


def _read_video(source: Path) -> dict[str, Any]:
    """The input that a video of ours was made with; a picture that came as a data URI is not in it."""
    settings = read_settings(source)
    if settings is None:
        raise ConfigurationError(f"{source} does not say how it was made")
    body: dict[str, Any] = json.loads(settings)["input"]
    return body


async def _here(settings: Settings, endpoint: str, body: Mapping[str, Any], target: Path, display: _Display) -> int:
    async with platform(settings, local_paths=True) as running:
        try:
            receipt = await running.service.submit(TENANT, endpoint, body)
        except StillmotionError as error:
            return _fail(error_body(stored(error)))
        watching = asyncio.create_task(_watch(running, receipt.app, receipt.id, display))
        view = await running.service.wait(TENANT, receipt.app, receipt.id)
        watching.cancel()
        if view.output is None:
            assert view.request.error is not None
            return _fail(error_body(view.request.error))
        path, _ = await running.service.file(view.output["video"]["url"].rsplit("/", 1)[-1])
        await asyncio.to_thread(shutil.copyfile, path, target)
    return _succeed(view.output, target)


async def _watch(running: Platform, app: str, id: str, display: _Display) -> None:
    while True:
        view: View = await running.service.status(TENANT, app, id, logs=True)
        if view.logs:
            display.show(view.logs[-1].message)
        if view.progress:
            display.step(view.progress.step, view.progress.total)
        await asyncio.sleep(POLL_SECONDS)


async def _on_server(url: str, endpoint: str, body: Mapping[str, Any], target: Path, display: _Display) -> int:
    """With the key in ``FAL_KEY``; also where none is asked for, because only with one is a hidden file its owner's."""
    key = {"authorization": f"Key {os.environ.get('FAL_KEY') or LOCAL_KEY}"}
    async with httpx2.AsyncClient(timeout=60, headers=key) as client:
        submitted = await client.post(f"{url}/queue/{endpoint}", json=body)
        if submitted.is_error:
            return _fail(submitted.json())
        request = submitted.json()
        while (state := await client.get(request["status_url"], params={"logs": 1})).status_code == 202:
            if logs := state.json().get("logs"):
                display.show(logs[-1]["message"])
            await asyncio.sleep(POLL_SECONDS)
        result = await client.get(request["response_url"])
        if result.is_error:
            return _fail(result.json())
        await _save(client, result.json()["video"]["url"], target)
        return _succeed(result.json(), target)


async def _save(client: httpx2.AsyncClient, url: str, target: Path) -> None:
    if url.startswith("data:"):  # sync_mode
        await asyncio.to_thread(target.write_bytes, base64.b64decode(url.partition(",")[2]))
        return
    async with client.stream("GET", url) as download:
        download.raise_for_status()
        with target.open("wb") as file:
            async for chunk in download.aiter_bytes():
                file.write(chunk)


def _succeed(output: Mapping[str, Any], target: Path) -> int:
    print(json.dumps({**output, "video": {**output["video"], "url": target.resolve().as_uri()}}, indent=2))
    return 0


def _fail(body: Any) -> int:
    print(json.dumps(body, indent=2))
    return 1
