"""Stop signals as events, instead of uvicorn's handling, which raises the signal again and so exits with -15."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Stop:
    """``requested`` is set by the first signal, ``at_once`` by the second."""

    requested: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: asyncio.Event = field(default_factory=asyncio.Event)

    def signal(self) -> None:
        (self.at_once if self.requested.is_set() else self.requested).set()


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Turns SIGTERM and SIGINT into events while it is open; what handled them before handles them after.

    Only the main thread receives signals; elsewhere the events are never set and cancelling is the way to stop.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    for each in STOP_SIGNALS:
        loop.add_signal_handler(each, stop.signal)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            loop.remove_signal_handler(each)
            if handler is not None:
                signal.signal(each, handler)
