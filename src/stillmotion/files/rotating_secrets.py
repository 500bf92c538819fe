"""Secrets that sign for a while each, in one file of the data directory.

Nobody has to remember to replace them: the first signature after ``SIGNS_SECONDS`` makes the next one. An old one goes
when the last thing it may have signed has ended, so a file that was stolen is of use for two weeks at most.
"""

import base64
import json
import os
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from stillmotion.errors import ConfigurationError
from stillmotion.files.blobs import sync_folder

log = structlog.get_logger()

SECRET_BYTES = 32
SIGNS_SECONDS = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class _Secret:
    value: bytes = field(repr=False)
    made_at: float
    """Unix time."""


class RotatingSecrets:
    """The secrets in ``path``, which is made on first use and readable by its owner alone; the process owns it.

    ``longest`` is how many seconds a signature may be good for. Raises ConfigurationError for a file that holds
    something else.
    """

    def __init__(self, path: Path, *, longest: float) -> None:
        self._path = path
        self._longest = longest
        self._lock = threading.Lock()
        self._secrets = _read(path) if path.exists() else []

    def newest(self, now: float) -> bytes:
        """The secret to sign with; blocks when it makes one. Raises OSError when there is none and none can be kept."""
        with self._lock:
            if not self._secrets or now - self._secrets[-1].made_at >= SIGNS_SECONDS:
                made = [*self._live(now), _Secret(secrets.token_bytes(SECRET_BYTES), now)]
                try:
                    _write(self._path, made)
                except OSError:
                    # A full disk must not end what the present one can go on with.
                    if not self._secrets:
                        raise
                    log.warning("a new secret could not be kept; the old one signs on", path=str(self._path))
                else:
                    self._secrets = made
            return self._secrets[-1].value

    def live(self, now: float) -> list[bytes]:
        """The secrets that something still good may be signed with."""
        return [secret.value for secret in self._live(now)]

    def _live(self, now: float) -> list[_Secret]:
        replaced = [secret.made_at for secret in self._secrets[1:]]
        old = zip(self._secrets, replaced, strict=False)
        return [secret for secret, at in old if now < at + self._longest] + self._secrets[-1:]


def _read(path: Path) -> list[_Secret]:
    try:
        found = [
            _Secret(base64.b64decode(each["secret"], validate=True), float(each["made_at"]))
            for each in json.loads(path.read_text())
        ]
        if not found or any(len(secret.value) != SECRET_BYTES for secret in found):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is damaged; delete it to have a new one made") from error
    return found


def _write(path: Path, kept: list[_Secret]) -> None:
    """All or nothing, and for this user's eyes only from the first byte on."""
    told = [{"secret": base64.b64encode(secret.value).decode(), "made_at": secret.made_at} for secret in kept]
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(told, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_folder(path.parent)
