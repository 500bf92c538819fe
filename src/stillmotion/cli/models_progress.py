"""How downloads look: one line per file on stderr, a moving one where a person watches."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from stillmotion.bundles.pull import Watcher, gigabytes


@contextmanager
def watching() -> Iterator[Watcher]:
    """What a download reports to."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), SpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bars(progress)


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def begin(self, name: str, size: int) -> None:
        self._tasks[name] = self._progress.add_task(name, total=size)

    def advance(self, name: str, count: int) -> None:
        self._progress.advance(self._tasks[name], count)

    def checking(self, name: str) -> None:
        self._progress.update(self._tasks[name], description=f"{name} [dim]checksum[/dim]")

    def finish(self, name: str, how: str) -> None:
        task = self._tasks[name]
        self._progress.update(task, description=name, completed=self._progress.tasks[task].total)


class _Lines:
    """For logs: when a file begins, and how it ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def begin(self, name: str, size: int) -> None:
        self._say(f"{name}: {gigabytes(size)}")

    def advance(self, name: str, count: int) -> None:
        pass

    def checking(self, name: str) -> None:
        pass

    def finish(self, name: str, how: str) -> None:
        self._say(f"{name}: {how}")

    def _say(self, text: str) -> None:
        with self._lock:
            print(text, file=sys.stderr, flush=True)
