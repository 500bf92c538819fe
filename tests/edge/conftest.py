"""One edge process with short limits, shared by the tests of this folder."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_process import EdgeProcess, edge_process

LIMITS = {
    "header_seconds": 1.0,
    "idle_seconds": 1,
    "linger_seconds": 0.5,
    "linger_bytes": 256 * 1024,
    "stall_seconds": 1.0,
    "tls_handshake_seconds": 1.0,
    "tls_shutdown_seconds": 0.3,
}
BODY = {"grace_seconds": 1.0, "max_seconds": 1.5, "linger_seconds": 0.5}


@pytest.fixture(scope="session")
def tls_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("edge") / "tls"


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory, tls_folder: Path) -> Iterator[EdgeProcess]:
    folder = tmp_path_factory.mktemp("edge")
    with edge_process(folder, tls=str(tls_folder), limits=LIMITS, body=BODY) as child:
        yield child


@pytest.fixture
def strict(edge: EdgeProcess, tls_folder: Path) -> ssl.SSLContext:
    """A client as strict as Python 3.13's default, trusting the bundle."""
    context = ssl.create_default_context(cafile=str(tls_folder / "bundle.pem"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context
