"""Short-lived rights that are signed and not stored: addresses of files, and tokens."""

import asyncio
import base64
import hashlib
import hmac

from stillmotion.errors import Unavailable
from stillmotion.files.rotating_secrets import RotatingSecrets
from stillmotion.service.clock import wall_clock

LONGEST_SECONDS = 7 * 86400
"""That any of them is good for."""


class Signatures:
    """HMAC-SHA256, as base64url. ``purpose`` keeps what is signed for one thing from being taken for another."""

    def __init__(self, secrets: RotatingSecrets, purpose: str) -> None:
        self._secrets = secrets
        self._purpose = purpose.encode() + b"\0"

    async def sign(self, message: str) -> str:
        """Raises Unavailable when the first secret ever cannot be kept."""
        try:
            secret = await asyncio.to_thread(self._secrets.newest, wall_clock())
        except OSError as error:
            raise Unavailable("The server cannot sign anything: its disk cannot be written.") from error
        return self._signature(secret, message)

    def verify(self, message: str, signature: str) -> bool:
        """Compares with what every secret makes, all of them and all of each, however early they differ."""
        given = signature.encode(errors="replace")
        made = [self._signature(secret, message).encode() for secret in self._secrets.live(wall_clock())]
        return True in [hmac.compare_digest(each, given) for each in made]

    def _signature(self, secret: bytes, message: str) -> str:
        digest = hmac.digest(secret, self._purpose + message.encode(errors="replace"), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
