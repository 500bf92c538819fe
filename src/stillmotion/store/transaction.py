"""What a transaction is: a generator that yields statements and is sent their rows."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Executable

Result = TypeVar("Result")
Row = Mapping[str, Any]
Step = tuple[Executable, Mapping[str, Any]]
Transaction = Generator[Step, Sequence[Row], Result]
