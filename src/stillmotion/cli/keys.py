"""``stillmotion keys``: make, list and revoke API keys, whether or not the server runs."""

import sys
from datetime import datetime
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

from stillmotion.errors import ConfigurationError
from stillmotion.service.clock import wall_clock
from stillmotion.service.keys import new_key
from stillmotion.settings import Settings
from stillmotion.store import keys
from stillmotion.store.records import Scope
from stillmotion.store.sqlite_beside import write_beside
from stillmotion.store.sqlite_snapshot import read_snapshot

SCOPES = ("api", "admin")


def create_key(name: str, scope: str, *, data: Path | None) -> int:
    """Prints the key alone on stdout, so that a script can take it."""
    if scope not in SCOPES:
        raise ConfigurationError(f"a key's scope is {' or '.join(SCOPES)}, not {scope!r}")
    key, transaction = new_key(name, cast(Scope, scope))
    write_beside(_database(data), transaction)
    print(f"the {scope} key of {name}; it is shown this once:", file=sys.stderr)
    print(key)
    return 0


def list_keys(*, data: Path | None) -> int:
    table = Table("id", "name", "scope", "created", "revoked", box=None, pad_edge=False)
    for key in read_snapshot(_database(data), keys.every()):
        table.add_row(key.id, key.tenant, key.scope, _day(key.created_at), _day(key.revoked_at))
    Console().print(table)
    return 0


def revoke_key(id: str, *, data: Path | None) -> int:
    """``id``: also with its secret, as it was printed."""
    if not write_beside(_database(data), keys.revoke(id.partition(":")[0], now=wall_clock())):
        raise ConfigurationError(f"there is no key {id.partition(':')[0]}, or it was revoked before")
    print("revoked; a running server refuses it within two seconds", file=sys.stderr)
    return 0


def _database(data: Path | None) -> Path:
    return Settings.load(data=data).data / "stillmotion.db"


def _day(at: float | None) -> str:
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}" if at else ""
