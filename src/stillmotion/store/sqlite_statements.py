"""The statements as SQLite's text, and transactions run with them on a connection."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Executable
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from stillmotion.store.duplicates import DUPLICATE_STATEMENTS
from stillmotion.store.history_statements import HISTORY_STATEMENTS
from stillmotion.store.keys import KEY_STATEMENTS
from stillmotion.store.outbox_statements import OUTBOX_STATEMENTS
from stillmotion.store.overview import OVERVIEW_STATEMENTS
from stillmotion.store.statements import STATEMENTS
from stillmotion.store.summary_statements import SUMMARY_STATEMENTS
from stillmotion.store.transitions import Transaction
from stillmotion.store.upload_statements import UPLOAD_STATEMENTS

Result = TypeVar("Result")


class CompiledStatements:
    """Every statement, compiled once."""

    def __init__(self) -> None:
        requests = (*STATEMENTS, *SUMMARY_STATEMENTS, *HISTORY_STATEMENTS, *OVERVIEW_STATEMENTS)
        every = (*requests, *DUPLICATE_STATEMENTS, *KEY_STATEMENTS, *OUTBOX_STATEMENTS, *UPLOAD_STATEMENTS)
        self._texts = {id(statement): _compiled(statement) for statement in every}

    def run(self, connection: sqlite3.Connection, transaction: Transaction[Result]) -> Result:
        """Drives ``transaction`` to its end, inside whatever database transaction the connection is in.

        ``connection`` gives rows as ``sqlite3.Row``.
        """
        rows: Sequence[Mapping[str, Any]] | None = None
        while True:
            try:
                statement, parameters = next(transaction) if rows is None else transaction.send(rows)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            text, constants = self._texts[id(statement)]
            # sqlite3.Row answers to keys(), but is no Mapping; dict(row) costs 0.4 us.
            rows = [dict(row) for row in connection.execute(text, {**constants, **parameters}).fetchall()]


def _compiled(statement: Executable) -> tuple[str, dict[str, Any]]:
    """SQL text with named parameters, and the values that the expression itself holds."""
    compiled = statement.compile(dialect=SQLiteDialect(paramstyle="named"))  # type: ignore[attr-defined]  # every Core statement has it
    return compiled.string, {name: value for name, value in compiled.params.items() if value is not None}
