"""Blocking jobs in a few threads, for downloads."""

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")


def side_by_side(jobs: Sequence[Callable[[threading.Event], Result]], workers: int) -> Iterator[Result]:
    """The results in the order in which they come; the first exception ends it.

    A job is given an event, at which it should end soon: set when another one failed, and then all are waited for, so
    that none works on beside the next attempt. The threads are daemons and an interrupt waits for nobody: what a job
    does must stand being killed at any moment.
    """
    waiting: SimpleQueue[Callable[[threading.Event], Result]] = SimpleQueue()
    for job in jobs:
        waiting.put(job)
    done: SimpleQueue[Result | BaseException] = SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                job = waiting.get_nowait()
            except Empty:
                return
            try:
                done.put(job(stop))
            except BaseException as error:  # handed to the thread that waits for it
                done.put(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(jobs)))]
    for thread in threads:
        thread.start()
    try:
        for _ in jobs:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    except Exception:
        stop.set()
        for thread in threads:
            thread.join()
        raise
    finally:
        stop.set()
