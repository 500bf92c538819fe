"""Which request heads are refused although the parser (llhttp, strict) accepts them.

llhttp itself refuses Content-Length beside Transfer-Encoding, repeated, signed or listed lengths, folded headers, bare
CR or LF, space before the colon, NUL, and malformed chunk sizes; the tests hold it to that.
"""

from collections.abc import Sequence

HTTP_VERSIONS = ("1.0", "1.1")


def refusal(method: str, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Why a request whose message could be framed or routed in two ways is refused; None when it is not."""
    if version not in HTTP_VERSIONS:
        return "HTTP/1.0 and HTTP/1.1 are spoken here"
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return "Exactly one Host header is needed"
    if not (target.startswith(b"/") or target == b"*") and _authority(target) not in hosts:
        return "The request target and the Host header name different hosts"
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and (version == "1.0" or [coding.lower() for coding in codings] != [b"chunked"]):
        return "Only the transfer coding 'chunked' is understood"
    if _upgrades_to_websocket(headers) and (method != "GET" or _has_body(headers)):
        return "A WebSocket opens with a GET request without a body"
    return None


def _authority(target: bytes) -> bytes | None:
    scheme, separator, rest = target.partition(b"://")
    return rest.split(b"/", 1)[0].split(b"?", 1)[0] if separator and scheme.lower() in (b"http", b"https") else None


def _upgrades_to_websocket(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name == b"upgrade" and b"websocket" in value.lower() for name, value in headers)


def _has_body(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)
