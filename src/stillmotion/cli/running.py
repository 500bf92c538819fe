"""What a server keeps in its data directory for other programs of its user: its certificates, and where it is."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillmotion.errors import ConfigurationError
from stillmotion.settings import Settings
from stillmotion.tls import LocalTls, certified_names, ensure_certificate

STATE_FILE = "server.json"
"""While a server runs on the directory: its URLs and process id."""
ROOTS_VARIABLE = "SSL_CERT_FILE"


def local_tls(data: Path, names: Sequence[str] | None = None) -> LocalTls:
    """The certificates of a data directory, made if need be; the user's own roots stay in the bundle.

    ``names``: what the server answers to; by default those it was last given, so that no client takes them from it.
    """
    roots, folder = os.environ.get(ROOTS_VARIABLE), data / "tls"
    names = certified_names(folder) if names is None else names
    return ensure_certificate(folder, names=names, roots=Path(roots) if roots else None)


def running_server(settings: Settings) -> dict[str, Any]:
    """URLs and pid of the server that runs on the data directory. Raises ConfigurationError when none does."""
    state = running_state(settings.data)
    if state is None:
        raise ConfigurationError(f"no server runs on {settings.data}; name one with --url")
    return state


def running_state(data: Path) -> dict[str, Any] | None:
    """What the running server wrote; None when there is none, or when it died without removing it."""
    try:
        state: dict[str, Any] = json.loads((data / STATE_FILE).read_text())
        os.kill(state["pid"], signal.SIG_DFL)  # signal 0: only asks whether the process is there
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return state
