"""What every part of the work has in common: its time, its memory, and no gradients."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from stillmotion.engine.memory import memory_told

T = TypeVar("T")


class Parts:
    """Measures parts of the work into ``seconds``, by name; ``what`` is computed on ``device``."""

    def __init__(self, seconds: dict[str, float], what: str, device: torch.device) -> None:
        self._seconds, self._what, self._device = seconds, what, device

    @contextmanager
    def measured(self, *names: str) -> Iterator[None]:
        """Adds the block's wall seconds under each of ``names``. Raises OutOfMemory, with numbers, for the block."""
        began = time.perf_counter()
        with torch.inference_mode(), memory_told(self._what, self._device):
            yield
            self.settle()
        for name in names:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - began

    def settle(self) -> None:
        """Waits until the device has done what it was given, so that times and progress are true."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def measured_each(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """``items``, with the time it takes to make each one."""
        while True:
            with self.measured(name):  # not held while the reader works
                item = next(items, None)
            if item is None:
                return
            yield item
