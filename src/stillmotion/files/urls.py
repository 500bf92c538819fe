"""An http or https URL, read once and strictly.

Whatever two parsers could read in two ways (backslashes, control characters, user names, numbers that stand for
addresses) is refused rather than interpreted. What is left is connected to exactly as it was read.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urljoin

import idna

from stillmotion.errors import FileDownloadError
from stillmotion.files.addresses import NUMERIC_LABEL, is_host_name

MAX_URL_LENGTH = 4096
"""Characters. Presigned URLs with session tokens reach about 2,000."""

DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]%]+)(?::([0-9]{0,5}))?")
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class HttpUrl:
    scheme: str
    """``http`` or ``https``."""
    host: str
    """Lower-case ASCII name without a trailing dot, or a canonical address without brackets."""
    port: int
    target: str
    """Path and query, percent-encoded, beginning with ``/``."""

    @classmethod
    def parse(cls, text: str) -> "HttpUrl":
        """Raises FileDownloadError for anything that is not plainly an http or https URL; no other exception."""
        _check_characters(text)
        match = _URL.fullmatch(text)
        if match is None:
            raise FileDownloadError("a URL must begin with http:// or https://")
        scheme, authority, rest = match[1].lower(), match[2], match[3]
        if "@" in authority:
            raise FileDownloadError("a URL with a user name or password is not supported")
        parts = _AUTHORITY.fullmatch(authority)
        if parts is None:
            raise FileDownloadError("the URL has no valid host and port")
        port = int(parts[2]) if parts[2] else DEFAULT_PORTS[scheme]
        if not 1 <= port <= 65535:
            raise FileDownloadError("the port of the URL is out of range")
        return cls(scheme, _parse_host(parts[1]), port, _encode_target(rest))

    def join(self, location: str) -> "HttpUrl":
        """Where a redirect to ``location``, absolute or relative, leads. Raises FileDownloadError."""
        if not location:
            raise FileDownloadError(f"{self.host} redirects without saying where")
        _check_characters(location)
        if location.startswith("//"):
            return HttpUrl.parse(f"{self.scheme}:{location}")
        if _ABSOLUTE.match(location):
            return HttpUrl.parse(location)
        return HttpUrl.parse(urljoin(str(self), location))

    @property
    def authority(self) -> str:
        """Host, and the port where it is not the scheme's own: the value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def _check_characters(text: str) -> None:
    if len(text) > MAX_URL_LENGTH:
        raise FileDownloadError(f"the URL is longer than {MAX_URL_LENGTH} characters")
    if _AMBIGUOUS.search(text):
        raise FileDownloadError("the URL contains a backslash or a control character")


def _parse_host(text: str) -> str:
    try:
        return _canonical_host(text)
    except ValueError:  # of ipaddress, and of idna: its errors are UnicodeErrors
        raise FileDownloadError("the URL has no valid host name") from None


def _canonical_host(text: str) -> str:
    if text.startswith("["):
        return str(IPv6Address(text[1:-1]))
    host = text.lower().removesuffix(".")
    if not host.isascii():
        # IDNA 2008 without the UTS 46 mapping: full-width digits and ideographic full stops are errors, not other
        # spellings of an address.
        host = idna.encode(host, strict=True, std3_rules=True).decode("ascii")
    if NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        return str(IPv4Address(host))
    if not is_host_name(host):
        raise ValueError(host)
    return host


def _encode_target(rest: str) -> str:
    target = quote(rest, safe="/?:@!$&'()*+,;=%~[]|")
    return target if target.startswith("/") else f"/{target}"
