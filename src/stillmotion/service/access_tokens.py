"""Tokens for browsers: the right to run some applications for a short while, on behalf of a key that stays at home.

Signed, so that none has to be stored; a token names its key, and is void as soon as that key is.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.errors import Forbidden, Unauthorized
from stillmotion.service.clock import wall_clock
from stillmotion.service.keys import Caller, Keys
from stillmotion.service.signatures import Signatures

INVALID = "The token is invalid or has expired"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says."""

    key: str | None
    """None: made where nobody is asked for a key."""
    apps: tuple[str, ...]
    """Aliases, applications or endpoints: ``ltx-2``, ``fal-ai/ltx-2``, ``fal-ai/ltx-2/image-to-video``."""
    expires_at: int
    """Unix seconds."""

    def covers(self, endpoint: Endpoint) -> bool:
        return any(app in (endpoint.app.partition("/")[2], endpoint.app, endpoint.id) for app in self.apps)


class AccessTokens:
    def __init__(self, signatures: Signatures, keys: Keys) -> None:
        self._signatures = signatures
        self._keys = keys

    async def issue(self, caller: Caller, apps: Sequence[str], seconds: int) -> str:
        """A token for ``apps``, for ``seconds`` from now on, at most ``LONGEST_SECONDS`` of signatures."""
        told = json.dumps([caller.key, list(apps), int(wall_clock()) + seconds], separators=(",", ":"))
        payload = base64.urlsafe_b64encode(told.encode()).rstrip(b"=").decode()
        return f"{payload}.{await self._signatures.sign(payload)}"

    async def caller(self, token: str, endpoint: Endpoint) -> Caller:
        """On whose behalf its holder asks for ``endpoint``; never an administrator.

        Raises Unauthorized for a token that was not made here, has expired or whose key was revoked, Forbidden for one
        that is for other applications.
        """
        grant = self._read(token)
        if not grant.covers(endpoint):
            raise Forbidden(f"The token is not for {endpoint.id}")
        return await self._keys.holder(grant.key)

    def _read(self, token: str) -> Grant:
        payload, _, signature = token.partition(".")
        if not self._signatures.verify(payload, signature):
            raise Unauthorized(INVALID)
        key, apps, expires_at = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if wall_clock() >= expires_at:
            raise Unauthorized(INVALID)
        return Grant(key, tuple(apps), expires_at)
