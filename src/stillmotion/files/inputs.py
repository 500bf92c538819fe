"""Whatever a request calls a URL, brought to a local file."""

import asyncio
import errno
import os
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import unquote

from stillmotion.errors import FileDownloadError, Forbidden, NotFound
from stillmotion.files.data_uris import is_data_uri, write_data_uri
from stillmotion.files.offline import Fetches
from stillmotion.files.streams import check_size, removed_on_failure

OwnFiles = Callable[[str, str], Awaitable[Path | None]]
"""The file behind a URL of this server for a tenant, None if the URL is not one of ours; raises NotFound if the file is
gone, Forbidden if the tenant may not read it."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FILE_URL = re.compile(r"file:(?://(?:localhost)?)?(/(?!/).*)", re.IGNORECASE | re.DOTALL)


class Inputs:
    """Decides where an input comes from: the URL itself (``data:``), this server, this machine, or the network.

    ``own`` resolves our own URLs inside the process: they usually lie on loopback, which the fetcher refuses.
    ``local_paths`` admits paths and ``file:`` URLs, for the command line only: a server that did so would hand out its
    own disk.
    """

    def __init__(self, fetcher: Fetches, own: OwnFiles, *, local_paths: bool = False) -> None:
        self._fetcher = fetcher
        self._own = own
        self._local_paths = local_paths

    async def bring(self, url: str, target: Path, tenant: str) -> None:
        """Writes what ``url`` points to into ``target``, whose folder exists, and leaves no file when it cannot.

        ``tenant`` is who asks for it: of this server's own files, he gets those that he may read.

        Raises FileDownloadError or FileTooLargeError; the limit of the fetcher holds for every source.
        """
        if is_data_uri(url):
            await asyncio.to_thread(write_data_uri, url, target, self._fetcher.max_bytes)
        elif (path := await self._find_local(url, tenant)) is not None:
            await asyncio.to_thread(_copy, path, url, target, self._fetcher.max_bytes)
        else:
            await self._fetcher.fetch(url, target)

    async def _find_local(self, url: str, tenant: str) -> Path | None:
        try:
            own = await self._own(url, tenant)
        except NotFound:
            raise FileDownloadError("the file is no longer on this server") from None
        except Forbidden as error:
            raise FileDownloadError(error.message) from None
        if own is not None:
            return own
        scheme = _SCHEME.match(url)
        if scheme is not None and scheme[1].lower() in ("http", "https"):
            return None
        if self._local_paths and url:
            if match := _FILE_URL.fullmatch(url):
                return Path(unquote(match[1]))
            if scheme is None:
                return Path(url)
        raise FileDownloadError("a URL must begin with http://, https:// or data:")


def _copy(source: Path, name: str, target: Path, max_bytes: int) -> None:
    """Copies a regular file, which the caller knows as ``name``; a device or a pipe might never end."""
    try:
        if not source.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        check_size(source.stat().st_size, max_bytes)
        reader = source.open("rb")
    except OSError as error:
        raise FileDownloadError(f"the file {name[:200]} cannot be read: {error.strerror}") from error
    with reader, removed_on_failure(target), target.open("wb") as writer:
        shutil.copyfileobj(reader, writer)
