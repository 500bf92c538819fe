"""One look into a database that a running server may own: no lock is taken, none of it is written."""

import contextlib
import sqlite3
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from stillmotion.errors import ConfigurationError
from stillmotion.store.migrate import head
from stillmotion.store.sqlite_statements import CompiledStatements
from stillmotion.store.transitions import Transaction

Result = TypeVar("Result")


def read_snapshot(path: Path, transaction: Transaction[Result]) -> Result:
    """Runs a transaction that only reads, on one snapshot of the database at ``path``.

    Raises ConfigurationError when there is none, when it is of another version, or cannot be read.
    """
    if not path.is_file():
        raise ConfigurationError(f"there is no database at {path}")
    try:
        with contextlib.closing(_connect(path)) as connection:
            connection.execute("BEGIN")
            _check_version(connection, path)
            return CompiledStatements().run(connection, transaction)
    except sqlite3.Error as error:
        raise ConfigurationError(f"cannot read the database {path}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=5.0)
    connection.row_factory = sqlite3.Row
    return connection


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if found != head():
        raise ConfigurationError(
            f"the database {path} is of another version (revision {found}); a server of this version upgrades it"
        )
