"""One engine process, as the platform sees it: started, spoken to, watched, ended."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Self

from stillmotion.errors import BundleError, ConfigurationError, EngineLost, StillmotionError
from stillmotion.executor.messages import (
    MAX_LINE,
    Cancel,
    Configure,
    Loaded,
    Message,
    Ready,
    Report,
    Run,
    Shutdown,
    Unfit,
    decode,
    encode,
)
from stillmotion.job import Cancelled, Event, Failed, Log, Model, Progress, Work

logger = logging.getLogger(__name__)

STDERR_LINES = 20
"""Last lines of the engine's stderr that are kept to explain its end."""

STDERR_LINE = 2000
"""Characters of one such line."""

EXIT_SECONDS = 0.5
"""How long an engine that was told to end, or closed its channel, may take before it is killed."""

_UNFIT: Mapping[str, type[StillmotionError]] = {kind.kind: kind for kind in (BundleError, ConfigurationError)}


class EngineProcess:
    """A running engine. ``start`` makes one; it is over when ``ended`` is set, and never comes back.

    It leads a process group of its own: a Ctrl-C at the terminal reaches the platform alone, which then decides.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ready: asyncio.Future[tuple[Model, ...]] = asyncio.get_running_loop().create_future()
        self._runs: dict[str, asyncio.Queue[Event]] = {}
        self._deadlines: dict[str, asyncio.TimerHandle] = {}
        """When the process is killed for a cancelled work that goes on, by the work's id."""
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._loaded = self._stopping = False
        self.fit = True
        """False once it must not be given another work, which may be a moment before ``ended``."""
        self.ended = asyncio.Event()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._keep_stderr())]

    @classmethod
    async def start(cls, configure: Configure) -> Self:
        """Starts the process and sends ``configure``; does not wait for its answer. Raises EngineLost."""
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "stillmotion.executor.host"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE,
                start_new_session=True,
            )
        except OSError as error:  # no memory, no process numbers, no file descriptors
            raise EngineLost(f"The engine process could not be started: {error.strerror}") from error
        engine = cls(process)
        await engine._send(replace(configure, parent=os.getpid()))
        return engine

    @property
    def pid(self) -> int:
        return self._process.pid

    async def models(self) -> tuple[Model, ...]:
        """What it can run. Raises BundleError or ConfigurationError as it told, EngineLost when it ended untold."""
        return await asyncio.shield(self._ready)

    async def submit(self, work: Work) -> asyncio.Queue[Event]:
        """The queue on which the events of ``work`` arrive; whatever happens, the last is Done, Failed or Cancelled."""
        events = self._runs[work.id] = asyncio.Queue[Event]()
        if self.ended.is_set():
            self._settle(self._end_message())
        else:
            await self._send(Run(work=work))
        return events

    async def cancel(self, work_id: str, grace: float) -> None:
        """Asks for the end of a work; the process is killed if it has not come after ``grace`` seconds."""
        if work_id not in self._runs or work_id in self._deadlines:
            return
        self._deadlines[work_id] = asyncio.get_running_loop().call_later(grace, self._kill_for, work_id)
        await self._send(Cancel(work_id=work_id))

    async def stop(self) -> None:
        """Ends the process, within about a second. Works under way end in ``Failed(fatal=True)``."""
        self.fit, self._stopping = False, True
        await self._send(Shutdown())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), EXIT_SECONDS)
        self._kill()
        await self.ended.wait()

    async def _send(self, message: Message) -> None:
        """Sends if there is anybody to receive; if not, ``_listen`` has seen that too, and settles everything."""
        assert self._process.stdin is not None
        # uvloop's transports raise RuntimeError where asyncio's raise ConnectionError or nothing.
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(encode(message))
            await self._process.stdin.drain()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                self._receive(decode(line))
        except Exception as error:  # also a line beyond the limit, or an answer out of turn
            logger.error("engine process %d is killed: %s", self.pid, error)
        await self._end()

    def _receive(self, message: Message) -> None:
        match message:
            case Ready(models=models):
                self._ready.set_result(models)
            case Unfit(kind=kind, message=text):
                self._ready.set_exception(_UNFIT.get(kind, ConfigurationError)(text))
            case Loaded(model=model, device=device, seconds=seconds):
                self._loaded = True
                logger.info("engine process %d loaded %s on %s in %.1f s", self.pid, model, device, seconds)
            case Report(work_id=work_id, event=event):
                self._report(work_id, event)
            case _:
                raise ValueError(f"an engine does not send {type(message).__name__}")

    def _report(self, work_id: str, event: Event) -> None:
        if work_id not in self._runs:
            return
        self._runs[work_id].put_nowait(event)
        if not isinstance(event, Log | Progress):
            self.fit = self.fit and not (isinstance(event, Failed) and event.fatal)
            del self._runs[work_id]
            if deadline := self._deadlines.pop(work_id, None):
                deadline.cancel()

    async def _end(self) -> None:
        """The channel is closed: the process is over, or useless. Its exit is waited for, its works are settled."""
        self.fit = False
        exited = asyncio.create_task(self._process.wait())
        await asyncio.wait([exited], timeout=EXIT_SECONDS)
        self._kill()
        # With a timeout: a grandchild that left the group may hold stderr open, and both would wait for it.
        await asyncio.wait([exited, *self._tasks[1:]], timeout=EXIT_SECONDS)
        self.ended.set()
        message = self._end_message()
        logger.log(logging.INFO if self._stopping else logging.WARNING, "engine process %d: %s", self.pid, message)
        self._settle(message)
        if not self._ready.done():
            self._ready.set_exception(EngineLost(message))
        self._ready.exception()  # seen, even if nobody asks

    def _settle(self, message: str) -> None:
        for work_id in list(self._runs):
            lost = Failed(kind=EngineLost.kind, message=message, fatal=True)
            self._report(work_id, Cancelled() if work_id in self._deadlines else lost)

    def _end_message(self) -> str:
        if self._stopping:
            return "The engine was shut down."
        code = self._process.returncode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        if self._loaded:
            return f"The engine process ended ({how})."
        return "\n".join([f"The engine process ended while it was loading ({how}).", *self._stderr])

    async def _keep_stderr(self) -> None:
        assert self._process.stderr is not None
        rest = ""
        # Not readline: a progress bar is one endless line.
        while chunk := await self._process.stderr.read(1 << 16):
            *lines, rest = (rest + chunk.decode(errors="replace")).splitlines(keepends=True)
            if rest.endswith(("\n", "\r")) or len(rest) > STDERR_LINE:
                lines, rest = [*lines, rest], ""
            for line in lines:
                self._keep(line)
        self._keep(rest)

    def _keep(self, line: str) -> None:
        if text := line.strip()[:STDERR_LINE]:
            self._stderr.append(text)
            logger.info("engine process %d: %s", self.pid, text)

    def _kill_for(self, work_id: str) -> None:
        logger.warning("engine process %d is killed: work %s did not stop", self.pid, work_id)
        self._kill()

    def _kill(self) -> None:
        """The whole process group, so that compilers and loaders that the engine started go with it."""
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
