"""Addresses with which anybody may read a file for a while, whatever its ACL says: ``URL?identity=UNTIL.SIGNATURE``."""

import re

from stillmotion.service.clock import wall_clock
from stillmotion.service.signatures import Signatures

IDENTITY = "identity"
"""fal's name for the query parameter."""
_FORM = r"([1-9][0-9]{0,11})\.([A-Za-z0-9_-]{43})"
_SHOWN = re.compile(rf"[?&]{IDENTITY}={_FORM}(?![A-Za-z0-9_.-])")


class SignedUrls:
    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    async def sign(self, url: str, name: str, seconds: int) -> str:
        """``url``, which leads to the file called ``name``, signed for ``seconds``; its query is replaced."""
        expires = int(wall_clock()) + seconds
        signature = await self._signatures.sign(_message(name, expires))
        return f"{url.partition('#')[0].partition('?')[0]}?{IDENTITY}={expires}.{signature}"

    def admits(self, name: str, identity: str) -> bool:
        """Whether ``identity`` is a signature for that file whose time is not over."""
        match = re.fullmatch(_FORM, identity)
        if match is None:
            return False
        expires = int(match[1])
        return self._signatures.verify(_message(name, expires), match[2]) and wall_clock() < expires


def without_signature(url: str) -> str:
    """``url`` as others may see it."""
    return _SHOWN.sub("", url)


def _message(name: str, expires: int) -> str:
    return f"{name}\n{expires}"
