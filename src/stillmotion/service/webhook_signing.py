"""The keys that webhooks are signed with: Ed25519, in one file of the data directory, told to receivers as a JWKS.

Receivers may keep the key set for a day, as fal's documentation tells them to. So a new key is published for a day
before it signs, and an old one for a day after it last did: whatever they kept, they can verify.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stillmotion.errors import ConfigurationError
from stillmotion.files.blobs import sync_folder
from stillmotion.service.clock import wall_clock

KEYS_FILE = "webhook-keys.json"
"""In the data directory."""
DAY = 86400.0
"""Seconds that a receiver may keep the key set."""


@dataclass(frozen=True, slots=True)
class _Key:
    seed: bytes = field(repr=False)
    signs_from: float
    """Unix time."""

    @property
    def private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def public(self) -> dict[str, str]:
        """As RFC 8037 writes it; ``kid`` is the thumbprint of RFC 7638."""
        named = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(self.private.public_key().public_bytes_raw())}
        text = json.dumps(named, separators=(",", ":"), sort_keys=True)
        return {**named, "kid": _base64url(hashlib.sha256(text.encode()).digest()), "use": "sig", "alg": "EdDSA"}


class SigningKeys:
    """The keys in ``path``, which is read each time: 50 us, and a rotation by another process takes effect at once.

    Every method raises ConfigurationError when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ensure(self) -> None:
        """Makes the first key, once; checks what is there otherwise."""
        if self._path.exists():
            self._read()
        else:
            self._write([_Key(secrets.token_bytes(32), 0.0)])

    def sign(self, message: bytes) -> str:
        """The signature by the present key, in hexadecimal."""
        keys = self._read()
        return keys[_present(keys, wall_clock())].private.sign(message).hex()

    def public(self) -> list[dict[str, str]]:
        """The keys that a receiver may have to verify with, as JSON Web Keys."""
        return [key.public for key in _published(self._read(), wall_clock())]

    def rotate(self, *, at_once: bool = False) -> float:
        """Adds a key that signs from a day on; returns that Unix time.

        ``at_once``: it signs from now on and all others are withdrawn, for keys that were stolen; receivers that kept
        the old set refuse what it signs until they ask again. Raises ConfigurationError while another one waits.
        """
        now = wall_clock()
        keys = [] if at_once else _published(self._read(), now)
        if keys and keys[-1].signs_from > now:
            raise ConfigurationError("a new key is published already and begins to sign within a day")
        begins = now if at_once else now + DAY
        self._write([*keys, _Key(secrets.token_bytes(32), begins)])
        return begins

    def _read(self) -> list[_Key]:
        try:
            told = json.loads(self._path.read_text())
            keys = [_Key(base64.b64decode(each["seed"], validate=True), float(each["signs_from"])) for each in told]
            if not keys or any(len(key.seed) != 32 for key in keys):
                raise ValueError("there is no key in it")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"the webhooks' keys in {self._path} cannot be read: {error}") from error
        return keys

    def _write(self, keys: Sequence[_Key]) -> None:
        """All or nothing, and for this user's eyes only from the first byte on."""
        told = [{"seed": base64.b64encode(key.seed).decode(), "signs_from": key.signs_from} for key in keys]
        made = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(told, file)
                file.flush()
                os.fsync(file.fileno())
            made.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            made.unlink(missing_ok=True)
            raise ConfigurationError(f"the webhooks' keys in {self._path} cannot be written: {error}") from error


def signed_text(request_id: str, user_id: str, timestamp: str, body: bytes) -> bytes:
    """What fal's documentation has a receiver verify."""
    return "\n".join((request_id, user_id, timestamp, hashlib.sha256(body).hexdigest())).encode()


def signature_headers(keys: SigningKeys, request_id: str, user_id: str, body: bytes) -> list[tuple[str, str]]:
    """fal's four headers, signed at this moment: receivers refuse what is more than five minutes old."""
    timestamp = str(int(wall_clock()))
    return [
        ("X-Fal-Webhook-Request-Id", request_id),
        ("X-Fal-Webhook-User-Id", user_id),
        ("X-Fal-Webhook-Timestamp", timestamp),
        ("X-Fal-Webhook-Signature", keys.sign(signed_text(request_id, user_id, timestamp, body))),
    ]


def _present(keys: Sequence[_Key], now: float) -> int:
    """Index of the newest key that signs already; the oldest, should the clock have been set back before them all."""
    return max((index for index, key in enumerate(keys) if key.signs_from <= now), default=0)


def _published(keys: Sequence[_Key], now: float) -> list[_Key]:
    """The present key, those to come, and those that were replaced less than a day ago."""
    ends = [*(key.signs_from for key in keys[1:]), float("inf")]
    return [key for key, end in zip(keys, ends, strict=True) if end > now - DAY]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
