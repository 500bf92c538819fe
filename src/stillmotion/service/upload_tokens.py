"""Tokens that let their holder upload for a tenant, for a while: signed, so that none has to be stored."""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass

TOKEN_SECONDS = 3600.0
"""The clients ask for a new one when theirs has expired; it is checked when an upload begins, not while it lasts."""
_PURPOSE = b"upload token\0"


@dataclass(frozen=True, slots=True)
class UploadToken:
    text: str
    expires_at: float
    """Unix seconds."""


class UploadTokens:
    """Issues tokens and knows them again, with HMAC-SHA256 under ``secret``."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, tenant: str, *, now: float) -> UploadToken:
        expires_at = float(int(now + TOKEN_SECONDS))
        payload = json.dumps([tenant, expires_at]).encode()
        return UploadToken(f"{_text(payload)}.{_text(self._signature(payload))}", expires_at)

    def tenant(self, token: str, *, now: float) -> str | None:
        """Whose token it is; None for one that has expired or was not issued here."""
        payload, _, signature = token.partition(".")
        try:
            found, signed = _bytes(payload), _bytes(signature)
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(signed, self._signature(found)):
            return None
        tenant, expires_at = json.loads(found)
        return str(tenant) if now < expires_at else None

    def _signature(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, _PURPOSE + payload, hashlib.sha256)


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
