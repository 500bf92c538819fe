"""The encoder's thread: overlap, bounded memory, and errors that reach the producer."""

import threading

import numpy as np
import pytest

from stillmotion.media.pump import Pump

CHUNK = np.zeros((1, 3, 2), np.uint8)


class Recorder:
    """A writer that counts, waits while ``gate`` is closed, and fails at a chosen chunk."""

    def __init__(self, *, fail_at: int | None = None, fail_on_close: bool = False) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.written, self.ends, self.threads = 0, list[str](), set[int]()
        self._fail_at, self._fail_on_close = fail_at, fail_on_close

    def write(self, yuv: np.ndarray, /) -> None:
        assert self.gate.wait(10)
        self.threads.add(threading.get_ident())
        if self.written == self._fail_at:
            raise OSError("disk full")
        self.written += 1

    def close(self) -> None:
        self.ends.append("closed")
        if self._fail_on_close:
            raise OSError("no index")

    def abandon(self) -> None:
        self.ends.append("abandoned")


def test_everything_is_written_by_one_other_thread() -> None:
    writer = Recorder()
    with Pump(writer) as pump:
        for _ in range(20):
            pump.write(CHUNK)
    assert (writer.written, writer.ends) == (20, ["closed"])
    assert len(writer.threads) == 1
    assert threading.get_ident() not in writer.threads


def test_the_producer_runs_ahead_by_a_bounded_number_of_chunks() -> None:
    writer = Recorder()
    writer.gate.clear()
    handed = threading.Semaphore(0)

    def produce(pump: Pump) -> None:
        for _ in range(10):
            pump.write(CHUNK)
            handed.release()

    with Pump(writer, depth=2) as pump:
        producer = threading.Thread(target=produce, args=(pump,))
        producer.start()
        # One chunk is in the writer's hands, two wait: the producer gets rid of three while nothing is written.
        for _ in range(3):
            assert handed.acquire(timeout=10)
        assert not handed.acquire(timeout=0.1)
        writer.gate.set()
        producer.join(10)
    assert writer.written == 10


def test_an_error_of_the_writer_reaches_the_producer() -> None:
    writer = Recorder(fail_at=3)

    def produce() -> None:
        with Pump(writer) as pump:
            for _ in range(1000):
                pump.write(CHUNK)

    with pytest.raises(OSError, match="disk full"):
        produce()
    assert (writer.written, writer.ends) == (3, ["abandoned"])


def test_an_error_that_no_write_met_is_told_at_the_end() -> None:
    pump = Pump(Recorder(fail_at=0))
    pump.write(CHUNK)
    with pytest.raises(OSError, match="disk full"):
        pump.close()


def test_an_error_at_the_end_is_told() -> None:
    pump = Pump(Recorder(fail_on_close=True))
    with pytest.raises(OSError, match="no index"):
        pump.close()


def test_an_error_of_the_producer_ends_the_thread() -> None:
    writer = Recorder()
    before = threading.active_count()

    def produce() -> None:
        with Pump(writer) as pump:
            pump.write(CHUNK)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        produce()
    assert writer.ends == ["abandoned"]
    assert threading.active_count() == before
