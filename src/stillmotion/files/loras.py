"""The LoRA files that requests name, brought to this machine before the work begins."""

import asyncio
import copy
import logging
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stillmotion.errors import FileDownloadError, LoraLoadError, StillmotionError, Unavailable
from stillmotion.files.fetch import Fetcher, Version
from stillmotion.files.lora_paths import HubPath, LocalPath, UrlPath, parse_lora_path
from stillmotion.files.lora_store import LoraStore, Origin
from stillmotion.files.safetensors import check_safetensors
from stillmotion.files.streams import check_size
from stillmotion.hub import COMMIT, Hub, HubFile, Repository, is_disk_full

USUAL_NAMES = ("pytorch_lora_weights.safetensors",)
"""What diffusers calls a LoRA: meant where a repository holds other safetensors files beside it."""
MAX_TOLD = 8
HUB_DOWNLOADS = 4
HUB_LISTINGS = 8
"""At a time, each with a thread. Apart, or a LoRA that is here already would wait for four that are not."""
TRIES = 3
"""A content can be removed between its arrival and its use, when many large ones come at once."""

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(slots=True)
class _Shared:
    """One download and how many wait for it."""

    task: asyncio.Task[str]
    waiters: int = 0


class LoraFiles:
    """Brings a LoRA from a URL, the hub, or ``local_folder``; keeps what it downloaded in ``store``.

    ``fetcher`` has the limits for URLs; ``max_bytes`` and ``timeout`` (seconds) are those for the hub, ``max_bytes``
    for local files too. Belongs to one event loop.
    """

    def __init__(
        self,
        store: LoraStore,
        fetcher: Fetcher,
        hub: Hub,
        *,
        local_folder: Path | None = None,
        max_bytes: int = 3_000_000_000,
        timeout: float = 1800.0,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._hub = hub
        self._local_folder = local_folder
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._running: dict[str, _Shared] = {}
        self._listings = asyncio.Semaphore(HUB_LISTINGS)
        self._downloads = asyncio.Semaphore(HUB_DOWNLOADS)

    async def bring(self, source: str, folder: Path) -> Path:
        """The path of a safetensors file, the same for the same content, that stays until ``folder`` is deleted.

        ``folder`` is the request's own. A source that several requests ask for at once is downloaded once, and goes on
        until the last of them was cancelled. Raises FileDownloadError, FileTooLargeError or LoraLoadError; Unavailable
        when the disk is full.
        """
        path = parse_lora_path(source)
        if isinstance(path, LocalPath):
            return await asyncio.to_thread(self._find_local, path.name)
        for _ in range(TRIES):
            content = await self._share(source, lambda: self._fetch(source, path))
            held = await asyncio.to_thread(self._store.hold, content, folder)
            if held is not None:
                return held
        raise Unavailable("more LoRA files are in use than the server has room for: try again later")

    async def close(self) -> None:
        """Gives up every download."""
        tasks = [shared.task for shared in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _share(self, key: str, bring: Callable[[], Coroutine[Any, Any, str]]) -> str:
        shared = self._running.get(key)
        if shared is None:
            shared = self._running[key] = _Shared(asyncio.create_task(bring()))
            shared.task.add_done_callback(lambda task: self._end(key, task))
        shared.waiters += 1
        try:
            return await asyncio.shield(shared.task)
        except StillmotionError as error:
            # Each request says in its own copy which of its fields was at fault.
            raise copy.copy(error) from error
        finally:
            shared.waiters -= 1
            if not shared.waiters and not shared.task.done():
                self._running.pop(key)  # whoever comes now begins anew
                shared.task.cancel()

    def _end(self, key: str, task: asyncio.Task[str]) -> None:
        if (shared := self._running.get(key)) is not None and shared.task is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # marks it as seen, for a download that nobody waits for any more

    async def _fetch(self, source: str, path: UrlPath | HubPath) -> str:
        try:
            return await (self._from_url(source, path) if isinstance(path, UrlPath) else self._from_hub(source, path))
        except OSError as error:
            if is_disk_full(error):
                raise Unavailable("the disk of this server is full") from error
            raise

    async def _from_url(self, source: str, path: UrlPath) -> str:
        known = await asyncio.to_thread(self._store.find, source)
        incoming = self._store.incoming()
        version = Version(known.etag, known.last_modified) if known else None
        fetched = await self._fetcher.fetch(path.url, incoming, known=version)
        if fetched.unchanged and known:
            return known.content
        content = await asyncio.to_thread(self._store.adopt, incoming)
        origin = Origin(content=content, etag=fetched.version.etag, last_modified=fetched.version.last_modified)
        await asyncio.to_thread(self._store.remember, source, origin)
        return content

    async def _from_hub(self, source: str, path: HubPath) -> str:
        known = await asyncio.to_thread(self._store.find, source)
        if known and path.revision and COMMIT.fullmatch(path.revision):
            return known.content
        try:
            async with self._listings:
                listed = await _in_thread(lambda: self._hub.repository(path.name, path.revision))
        except Unavailable as error:
            if known is None:
                raise FileDownloadError(error.message) from error
            _log.warning("%s; the copy of %s that is here is used", error.message, source)
            return known.content
        file = _choose(listed, path.file)
        check_size(file.size, self._max_bytes)
        # Git's name of the content stands in for the checksum of a file that is not kept as LFS.
        if known and file.content in (known.content, known.etag):
            return known.content
        if file.sha256 is None or not await asyncio.to_thread(self._store.has, file.sha256):
            content = await self._download(file)
        else:
            content = file.sha256
        await asyncio.to_thread(self._store.remember, source, Origin(content=content, etag=file.git_id))
        return content

    async def _download(self, file: HubFile) -> str:
        incoming, stop = self._store.incoming(), threading.Event()

        def progress(_: int) -> None:
            if stop.is_set():
                raise _Stopped

        def work() -> str:
            try:
                self._hub.download(file, incoming, progress)
                return self._store.adopt(incoming, file.sha256)
            finally:
                incoming.unlink(missing_ok=True)

        try:
            async with self._downloads, asyncio.timeout(self._timeout):
                return await _in_thread(work)
        except TimeoutError:
            raise FileDownloadError(
                f"the download of {file.path} from {file.repository} took more than {self._timeout:g} s"
            ) from None
        except Unavailable as error:
            raise FileDownloadError(error.message) from error
        finally:
            stop.set()

    def _find_local(self, name: str) -> Path:
        if self._local_folder is None:
            raise FileDownloadError("this server has no folder of LoRA files: whoever runs it can set one, lora_folder")
        root = self._local_folder.resolve()
        try:
            path = (root / name).resolve(strict=True)
        except (OSError, RuntimeError):
            path = None
        # A link out of the folder is as if the file were not there.
        if path is None or root not in path.parents or not path.is_file():
            raise FileDownloadError(f"there is no {name} in this server's folder of LoRA files")
        check_size(path.stat().st_size, self._max_bytes)
        check_safetensors(path)
        return path


class _Stopped(Exception):
    """Nobody waits for the download any more."""


def _choose(repository: Repository, file: str | None) -> HubFile:
    if file is not None:
        if file not in repository.files:
            raise FileDownloadError(f"{repository.name} has no file {file}")
        return repository.files[file]
    candidates = sorted(path for path in repository.files if path.endswith(".safetensors"))
    chosen = candidates if len(candidates) == 1 else [name for name in USUAL_NAMES if name in candidates]
    if chosen:
        return repository.files[chosen[0]]
    if not candidates:
        raise LoraLoadError(f"{repository.name} holds no safetensors file")
    told = ", ".join(candidates[:MAX_TOLD]) + (", ..." if len(candidates) > MAX_TOLD else "")
    raise LoraLoadError(
        f"{repository.name} holds {len(candidates)} safetensors files: name one as {repository.name}/FILE, of {told}"
    )


async def _in_thread(work: Callable[[], Result]) -> Result:
    """Like ``asyncio.to_thread``, in a daemon of its own.

    A download takes minutes, and a stalled one does not hear of a cancellation for seconds: neither may hold one of
    the few threads that everything else shares, nor the end of the process.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # one of the two is there

    def run() -> None:
        result: Result | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            _log.debug("the event loop ended before a download did")

    threading.Thread(target=run, daemon=True, name="lora").start()
    return await future
