"""Preview pictures of one work: made as often as their cost allows, and written where the platform reads them."""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from stillmotion.executor.failures import failed
from stillmotion.job import Preview
from stillmotion.media.preview import write_preview

SHARE = 0.015
"""Of a work's time that goes into pictures, two of them aside: the first, which a new process has to warm up for, and
the one that comes to exceed it."""


class Previews:
    """Makes those of the pictures it is offered that are due. Whatever goes wrong with one is never the work's fault.

    ``tell`` is a line of the work's log; ``clock`` gives seconds.
    """

    def __init__(
        self, wanted: Preview, tell: Callable[[str], None], *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._wanted, self._tell, self._clock = wanted, tell, clock
        self._began = self._last = clock()
        self._first: float | None = None
        self._broken = self._fresh = False
        self.seconds = 0.0
        """Spent on pictures."""

    def offer(self, make: Callable[[], npt.NDArray[np.uint8]]) -> None:
        """After each step: ``make`` gives the picture (rows, columns, 3) of it, and is called where one is due."""
        now = self._clock()
        if self._broken or not self._is_due(now):
            return
        try:
            write_preview(make(), self._wanted.path)
        except Exception as error:  # a device in error fails the next step too, which is told as it should be
            self._broken = True
            self._tell(f"no more preview pictures: {failed(error).message}")
            return
        self._last, self._fresh = self._clock(), True
        cost = self._last - now
        self.seconds += cost
        self._first = cost if self._first is None else self._first

    def newest(self) -> str | None:
        """The path, if a picture was made since the last call."""
        fresh, self._fresh = self._fresh, False
        return self._wanted.path if fresh else None

    def _is_due(self, now: float) -> bool:
        affordable = self.seconds - (self._first or 0.0) <= SHARE * (now - self._began)
        return affordable and now - self._last >= self._wanted.seconds
