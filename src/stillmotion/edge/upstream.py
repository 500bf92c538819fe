"""The proxy that a program had before ours was put in its place: what is not for us goes on through it."""

import asyncio
import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from stillmotion.errors import ConfigurationError

HEAD_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Upstream:
    """An http proxy, as ``HTTPS_PROXY`` names one."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> "Upstream":
        """Reads ``[http://][user:password@]host[:port]``. Raises ConfigurationError for anything else."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            if parts.scheme != "http" or not parts.hostname:
                raise ValueError
            port = parts.port or 80
        except ValueError:
            raise ConfigurationError("HTTPS_PROXY is set to something other than http://HOST:PORT") from None
        if parts.username is None:
            return cls(parts.hostname, port)
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(parts.hostname, port, f"Basic {base64.b64encode(pair.encode()).decode()}")

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A tunnel to ``host``. Raises OSError when the proxy does not give one."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=HEAD_BYTES)
        name = f"[{host}]" if ":" in host else host
        lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
        lines += [f"Proxy-Authorization: {self.authorization}"] if self.authorization else []
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            answer = await reader.readuntil(b"\r\n\r\n")
            if answer.split(b" ", 2)[1:2] != [b"200"]:
                raise ConnectionRefusedError
        except BaseException as error:
            writer.close()
            if isinstance(error, (asyncio.IncompleteReadError, asyncio.LimitOverrunError, UnicodeEncodeError)):
                raise ConnectionRefusedError from error
            raise
        return reader, writer
