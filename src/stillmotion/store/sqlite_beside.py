"""One write to a database that a running server may own: for the command line."""

import contextlib
import sqlite3
from pathlib import Path
from typing import TypeVar

from stillmotion.errors import ConfigurationError
from stillmotion.store.migrate import head, upgrade
from stillmotion.store.sqlite_statements import CompiledStatements
from stillmotion.store.transitions import Transaction

Result = TypeVar("Result")

BUSY_SECONDS = 10.0


def write_beside(path: Path, transaction: Transaction[Result]) -> Result:
    """Runs ``transaction`` on the database at ``path``, which is made if there is none.

    SQLite lets one writer in after the other, whichever processes they are of. Only for what no running server keeps
    in memory. Raises ConfigurationError when the database is of another version, or cannot be used.
    """
    try:
        if not path.is_file():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            upgrade(f"sqlite:///{path}")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)) as connection:
            connection.row_factory = sqlite3.Row
            (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if found != head():
                raise ConfigurationError(
                    f"the database {path} is of another version ({found}); a server of this version upgrades it"
                )
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = CompiledStatements().run(connection, transaction)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            return result
    except sqlite3.Error as error:
        raise ConfigurationError(f"cannot write the database {path}: {error}") from error
