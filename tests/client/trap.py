"""A machine on which every name of fal's leads to a trap, which records look-ups, connections and what TLS clients ask
for. It needs network and mount namespaces of its own, in which it owns loopback and /etc.
"""

import contextlib
import ctypes
import fcntl
import re
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

FALS = re.compile(r"(^|\.)(fal\.run|fal\.ai|falrun\.com|fal\.media)\.?$", re.IGNORECASE)
ADDRESS = "127.0.0.66"
MS_BIND = 4096
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
FILES = {
    "resolv.conf": "nameserver 127.0.0.66\noptions timeout:1 attempts:1\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "hosts: files dns\n",
}


def can_isolate() -> bool:
    """Whether this user may have such a machine."""
    try:
        return subprocess.run(["unshare", "-Urnm", "true"], capture_output=True, timeout=20).returncode == 0
    except FileNotFoundError:
        return False


def isolate(folder: Path) -> None:
    """Makes the namespaces of this process that machine; it must have been started by ``unshare -Urnm``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
    libc = ctypes.CDLL(None, use_errno=True)
    for name, text in FILES.items():
        file = folder / name
        file.write_text(text)
        target = Path("/etc", name).resolve()
        if libc.mount(str(file).encode(), str(target).encode(), None, MS_BIND, None) != 0:
            raise OSError(ctypes.get_errno(), f"cannot bind {target}")


class Trap:
    """``hits``: what came, as ``dns NAME``, ``tls NAME`` or ``tcp PORT``, in order."""

    def __init__(self) -> None:
        self.hits: list[str] = []
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        names.bind((ADDRESS, 53))
        _forever(lambda: self._answer(names))
        for port in (80, 443):
            listener = socket.create_server((ADDRESS, port), backlog=64)
            _forever(lambda listener=listener, port=port: self._accept(listener, port))

    def taken(self) -> list[str]:
        """What came since the last time."""
        hits, self.hits = self.hits, []
        return hits

    def _answer(self, names: socket.socket) -> None:
        query, asker = names.recvfrom(4096)
        name, end = _question(query)
        type = struct.unpack(">H", query[end : end + 2])[0]
        fals = FALS.search(name) is not None
        if fals:
            self.hits.append(f"dns {name}")
        answered = fals and type == 1
        header = query[:2] + struct.pack(">HHHHH", 0x8180 if fals else 0x8183, 1, int(answered), 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(ADDRESS) if answered else b""
        names.sendto(header + query[12 : end + 4] + record, asker)

    def _accept(self, listener: socket.socket, port: int) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            self.hits.append(f"tls {_server_name(connection)}" if port == 443 else f"tcp {port}")


def _forever(step: Callable[[], None]) -> None:
    def run() -> None:
        while True:
            try:
                step()
            except OSError:
                continue

    threading.Thread(target=run, daemon=True).start()


def _question(query: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends."""
    labels, place = [], 12
    while size := query[place]:
        labels.append(query[place + 1 : place + 1 + size].decode("latin-1"))
        place += 1 + size
    return ".".join(labels), place + 1


def _server_name(connection: socket.socket) -> str:
    """What a TLS client calls the server that it wants. Its handshake fails: the trap has no certificate."""
    told: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _, name, __: told.append(str(name))
    with contextlib.suppress(OSError):
        context.wrap_socket(connection, server_side=True).close()
    return told[0] if told else "?"
