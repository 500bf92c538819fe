"""The Hugging Face hub: what a repository holds, and one file of it brought to disk.

Over the stock ``huggingface_hub``, which knows the addresses, tokens, retries and mirrors. Its own ``hf_hub_download``
begins again at 0 after a process was killed (since 2.x each download has a temporary file of its own), so the parts
it is made of are used here with a file that the caller keeps: 46 GB are not fetched twice.
"""

import errno
import functools
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from stillmotion import __version__
from stillmotion.errors import FileDownloadError, Unavailable

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

ANSWER_SECONDS = 15.0
"""For a listing or the head of a file; the bytes of a file have huggingface_hub's own limits, per read."""
MAIN = "main"

REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
COMMIT = re.compile(r"[0-9a-f]{40}")

Progress = Callable[[int], None]
"""Told how many bytes arrived since it was last told, negative if some had to be dropped; may raise to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file of a repository at one commit."""

    repository: str
    commit: str
    path: str
    size: int
    """Bytes."""
    sha256: str | None
    """As published, which it is for every file kept as LFS or Xet: all weights."""
    git_id: str
    """Git's own name for the content of a small file: SHA-1 of a head and the bytes."""

    @property
    def content(self) -> str:
        """Equal for equal bytes."""
        return self.sha256 or self.git_id

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit}/{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A model repository at one commit."""

    name: str
    commit: str
    gated: bool
    """Whether its files are only for accounts that accepted its terms; the listing is for everybody."""
    files: Mapping[str, HubFile]
    """By path."""


class Hub:
    """Synchronous; may be shared by threads. ``url`` and ``token`` default to huggingface_hub's own look-up.

    Every method raises FileDownloadError for what the hub refuses or does not have, and Unavailable when it cannot be
    reached or is in trouble itself.
    """

    def __init__(self, *, url: str | None = None, token: str | None = None) -> None:
        self._endpoint = url.rstrip("/") if url else None
        self._token = token

    @functools.cached_property
    def _api(self) -> "HfApi":
        # The library takes 0.3 s to import, its HTTP client included; every start of a server would pay that, and most
        # ask no hub.
        from huggingface_hub import HfApi

        return HfApi(
            endpoint=self._endpoint, token=self._token, library_name="stillmotion", library_version=__version__
        )

    @property
    def url(self) -> str:
        return str(self._api.endpoint)

    def repository(self, name: str, revision: str | None = None) -> Repository:
        """What ``name`` holds at ``revision`` (a branch, tag or commit; default ``main``)."""
        if not REPOSITORY.fullmatch(name) or ".." in name:
            raise FileDownloadError(f"{name[:200]!r} is not the name of a repository: write owner/name")
        with self._translated(name, revision):
            info = self._api.model_info(name, revision=revision or MAIN, files_metadata=True, timeout=ANSWER_SECONDS)
            commit = info.sha or ""
            if not COMMIT.fullmatch(commit):
                raise ValueError("no commit")
            found = {sibling.rfilename: _file(name, commit, sibling) for sibling in info.siblings or ()}
        return Repository(name=name, commit=commit, gated=bool(info.gated), files=found)

    def check_access(self, file: HubFile) -> None:
        """Asks for the head of ``file``: the one sure way to learn whether a gated repository will give it."""
        from huggingface_hub import get_hf_file_metadata

        with self._translated(file.repository, file.commit, file.path):
            get_hf_file_metadata(
                self._address(file), headers=self._headers(), timeout=ANSWER_SECONDS, endpoint=self.url
            )

    def download(self, file: HubFile, part: Path, progress: Progress) -> None:
        """Completes ``part`` to the bytes of ``file``, from where an earlier call left it; nothing else checks them.

        Raises OSError too, for the disk.
        """
        if part.exists() and part.stat().st_size > file.size:
            part.unlink()
        with part.open("ab") as stream, self._translated(file.repository, file.commit, file.path):
            self._get(file, _Counted(stream, progress), stream.tell())

    def read(self, file: HubFile) -> bytes:
        """The bytes of a small file."""
        stream = io.BytesIO()
        with self._translated(file.repository, file.commit, file.path):
            self._get(file, stream, 0)
        return stream.getvalue()

    def _get(self, file: HubFile, stream: "BinaryIO | _Counted", done: int) -> None:
        from huggingface_hub.file_download import http_get

        # The address that redirects, never the one it redirects to: that is signed for an hour, less than 46 GB can
        # take, and every retry needs a new one. The HTTP library drops the token when the redirect leaves the hub.
        http_get(
            self._address(file),
            cast(BinaryIO, stream),
            resume_size=done,
            headers={**self._headers(), "Accept-Encoding": "identity"},
            expected_size=file.size,
            tqdm_class=cast(Any, _NoBar),
        )

    def _address(self, file: HubFile) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(file.repository, file.path, revision=file.commit, endpoint=self.url)

    def _headers(self) -> dict[str, str]:
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # exported, lazily

        headers: dict[str, str] = build_hf_headers(
            token=self._token, library_name="stillmotion", library_version=__version__
        )
        return headers

    @contextmanager
    def _translated(self, name: str, revision: str | None, path: str | None = None) -> Iterator[None]:
        """The one border where the library's exceptions end. No text of theirs goes on: it holds addresses."""
        import httpx2
        from huggingface_hub.errors import (
            FileMetadataError,
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            OfflineModeIsEnabled,
            RemoteEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        try:
            yield
        except GatedRepoError as error:
            raise FileDownloadError(self._gated(name, error)) from error
        except RevisionNotFoundError as error:
            raise FileDownloadError(f"{name} has no revision {revision!r}") from error
        except RemoteEntryNotFoundError as error:
            raise FileDownloadError(f"{name} has no file {path!r}") from error
        except RepositoryNotFoundError as error:
            raise FileDownloadError(
                f"{name} does not exist on {self.url}, or it is private and needs a token that may read it: "
                "set HF_TOKEN"
            ) from error
        except HfHubHTTPError as error:
            raise self._answer(name, error) from error
        except (httpx2.TransportError, OfflineModeIsEnabled) as error:
            reason = "HF_HUB_OFFLINE is set" if isinstance(error, OfflineModeIsEnabled) else "check the network"
            raise Unavailable(f"{self.url} cannot be reached: {reason}, or HF_ENDPOINT for a mirror") from error
        except (FileMetadataError, HFValidationError, httpx2.HTTPError, KeyError, TypeError, ValueError) as error:
            raise FileDownloadError(f"{self.url} did not answer about {name} as a Hugging Face hub does") from error
        except OSError as error:
            if error.errno is not None:
                raise
            # http_get's own, when fewer or more bytes came than were announced.
            raise Unavailable(f"{self.url} sent {path} incompletely") from error

    def _gated(self, name: str, error: "GatedRepoError") -> str:
        accept = f"accept its terms at {self.url}/{name} with your account"
        if error.response.status_code == 401:
            return f"{name} is gated: {accept}, then set HF_TOKEN to a token of that account that may read it"
        return (
            f"{name} is gated and the account of your token has no access: {accept}, and let a fine-grained token "
            "read gated repositories"
        )

    def _answer(self, name: str, error: "HfHubHTTPError") -> "FileDownloadError | Unavailable":
        status = error.response.status_code
        if status == 401:
            return FileDownloadError(f"{self.url} does not know the token in HF_TOKEN (answer 401): make a new one")
        if status == 403:
            return FileDownloadError(f"the token in HF_TOKEN may not read {name} (answer 403)")
        if status in (408, 429) or status >= 500:
            return Unavailable(f"{self.url} answered {status}: try again later")
        return FileDownloadError(f"{self.url} answered {status} about {name}")


class _Sibling(Protocol):
    rfilename: str
    size: int | None
    blob_id: str | None
    lfs: Any


def _file(repository: str, commit: str, sibling: _Sibling) -> HubFile:
    path = sibling.rfilename
    if path.startswith("/") or "\\" in path or any(piece in ("", ".", "..") for piece in path.split("/")):
        raise ValueError("a path that leaves its folder")
    if sibling.size is None or sibling.size < 0 or not sibling.blob_id:
        raise ValueError("a file without a size")
    sha256 = sibling.lfs.sha256 if sibling.lfs else None
    if not re.fullmatch(r"[0-9a-f]{40}", sibling.blob_id) or not re.fullmatch(r"[0-9a-f]{64}", sha256 or "0" * 64):
        raise ValueError("a malformed checksum")
    return HubFile(
        repository=repository,
        commit=commit,
        path=path,
        size=sibling.size,
        sha256=sha256,
        git_id=sibling.blob_id,
    )


class _Counted:
    """The part of a file's interface that ``http_get`` uses; says how far the file has grown."""

    def __init__(self, stream: BinaryIO, progress: Progress) -> None:
        self._stream, self._progress = stream, progress

    def write(self, data: bytes) -> int:
        written = self._stream.write(data)
        self._progress(written)
        return written

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int) -> int:
        return self._stream.seek(offset)

    def truncate(self) -> int:
        """From here on, where the host ignored the range that was asked for."""
        position = self._stream.tell()
        self._progress(position - self._stream.seek(0, io.SEEK_END))
        return self._stream.truncate(position)


class _NoBar:
    """In the place of the library's progress bar."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> "_NoBar":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, n: float | None = 1) -> None:
        pass


def is_disk_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
