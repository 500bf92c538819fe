"""Where the server listens."""

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from stillmotion.errors import ConfigurationError
from stillmotion.tls import LocalTls

# A name such as localhost may stand for an address that this machine does not have (IPv6 in many containers).
ABSENT_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to serve on; ``port`` 0 lets the system choose; with ``tls`` it speaks https."""

    host: str
    port: int
    tls: LocalTls | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """One address that is served, with its real port."""

    host: str
    port: int
    tls: bool

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def bind(listener: Listener) -> list[socket.socket]:
    """Sockets for every address the host name stands for, all on one port; not listening yet.

    Raises ConfigurationError, with a sentence for the user, when none can be had.
    """
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    port = listener.port
    try:
        for family, address in _resolve(listener):
            try:
                sockets.append(_bind(family, (address, port)))
            except OSError as error:
                if error.errno not in ABSENT_FAMILY:
                    raise
                absent = error
            else:
                port = sockets[0].getsockname()[1]
        if absent is not None and not sockets:
            raise absent
    except OSError as error:
        close(sockets)
        raise refusal(listener, error) from error
    return sockets


def close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def refusal(listener: Listener, error: OSError) -> ConfigurationError:
    """The error of a listener that cannot be had, in words."""
    place = Address(listener.host, listener.port, listener.tls is not None).url
    match error:
        case socket.gaierror():
            why = f"the host name {listener.host!r} is not known"
        case OSError(errno=errno.EADDRINUSE):
            why = "another program already listens there; stop it or choose another port"
        case OSError(errno=errno.EACCES | errno.EPERM):
            why = "this user may not listen there; choose a port above 1023"
        case OSError(errno=errno.EADDRNOTAVAIL):
            why = "this machine does not have that address"
        case _:
            why = os.strerror(error.errno) if error.errno else str(error)
    return ConfigurationError(f"Cannot listen on {place}: {why}.")


def _resolve(listener: Listener) -> Iterator[tuple[socket.AddressFamily, str]]:
    if not 0 <= listener.port <= 65535:
        raise ConfigurationError(f"Cannot listen on port {listener.port}: ports go from 0 to 65535.")
    seen = set()
    for family, _, _, _, address in socket.getaddrinfo(
        listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        host = str(address[0])
        if host not in seen and family in (socket.AF_INET, socket.AF_INET6):
            seen.add(host)
            yield family, host


def _bind(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
