"""Loaded into Python before a program that runs under `stillmotion exec`, through PYTHONPATH: also what heeds no proxy
variable, or was told to forget them, reaches fal's names at the local port that serves them. All else is left alone.

This runs in the program's own Python, of whatever version, and may import nothing of this project.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

# It stands for fal's names between their look-up and the connection: some libraries take the address alone from the
# look-up, and keep the port. ("fal" after 127; nothing is ever sent to it.)
STAND_IN = "127.102.97.108"


def _route(port: int, names: list[str]) -> None:
    look_up, look_up_name = socket.getaddrinfo, socket.gethostbyname
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def is_fals(host: Any) -> bool:
        if isinstance(host, (bytes, bytearray)):
            host = host.decode("latin-1")
        name = host.lower().rstrip(".") if isinstance(host, str) else ""
        return name in names or any(each.startswith("*.") and name.endswith(each[1:]) for each in names)

    def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if is_fals(host):
            host, family = STAND_IN, socket.AF_INET
        return look_up(host, port, family, type, proto, flags)

    def target(address: Any) -> Any:
        routed = isinstance(address, tuple) and address and (address[0] == STAND_IN or is_fals(address[0]))
        return ("127.0.0.1", port) if routed else address

    vars(socket).update(
        getaddrinfo=getaddrinfo,
        gethostbyname=lambda host: STAND_IN if is_fals(host) else look_up_name(host),
    )
    # The one place that every library of Python's passes; types do not foresee that a method is replaced.
    socket.socket.connect = lambda self, address: connect(self, target(address))  # type: ignore[method-assign]
    socket.socket.connect_ex = lambda self, address: connect_ex(self, target(address))  # type: ignore[method-assign]


def _load_next() -> None:
    """The module of this name that Python would have loaded."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec
    from pathlib import Path

    here = Path(__file__).resolve().parent
    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if Path(path).resolve() != here])
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if os.environ.get("STILLMOTION_EXEC_TLS_PORT"):
    _route(int(os.environ["STILLMOTION_EXEC_TLS_PORT"]), json.loads(os.environ.get("STILLMOTION_EXEC_NAMES", "[]")))
_load_next()
