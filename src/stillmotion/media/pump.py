"""Encoding on a thread of its own, so that pictures are encoded while later ones are still being decoded."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt


class Sink(Protocol):
    """What ``Pump`` drives: a ``writer.Writer``, for one."""

    def write(self, yuv: npt.NDArray[np.uint8], /) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class Pump:
    """Hands chunks of pictures to ``writer`` on its own thread; ``writer`` belongs to that thread until the pump ends.

    At most ``depth`` chunks wait (``write`` blocks then), which bounds memory to ``depth + 2`` chunks. What the writer
    raises is raised by the next ``write`` or by ``close``. Leaving the context by an exception drops what waits and
    abandons the writer.
    """

    def __init__(self, writer: Sink, *, depth: int = 2) -> None:
        self._writer = writer
        self._chunks: queue.Queue[npt.NDArray[np.uint8] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._abandoned = False
        self.busy_seconds = 0.0
        """Wall seconds that the writer has worked."""
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)
        self._thread.start()

    def write(self, yuv: npt.NDArray[np.uint8]) -> None:
        """Queues one chunk, as ``Writer.write`` takes it. The array must not change afterwards."""
        if self._error is not None:
            raise self._error
        self._chunks.put(yuv)

    def close(self) -> None:
        """Waits until everything is written and the writer is closed; raises what the writer raised."""
        self._chunks.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        self._abandoned = True
        self._chunks.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (chunk := self._next()) is not None:
                with self._timed():
                    self._writer.write(chunk)
        except BaseException as error:
            self._error, self._abandoned = error, True
            self._next()  # up to the end mark
        if self._abandoned:
            self._writer.abandon()
            return
        try:
            with self._timed():
                self._writer.close()
        except BaseException as error:
            self._error = error

    def _next(self) -> npt.NDArray[np.uint8] | None:
        """The next chunk, or None at the end mark. Once abandoned, what waits is dropped: no producer blocks."""
        chunk = self._chunks.get()
        while self._abandoned and chunk is not None:
            chunk = self._chunks.get()
        return chunk

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.busy_seconds += time.perf_counter() - began
