"""The engine's process: takes works from a channel, computes them, and reports. ``python -m stillmotion.executor.host``

The only module that composes engine and media. Two threads: the main one computes, the other reads the channel, so
that a cancellation is seen between two steps and the end of the platform ends this process at any moment.
"""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from stillmotion.engine.manifest import Manifest
from stillmotion.errors import EngineLost, OutOfMemory, StillmotionError
from stillmotion.executor.expansion import Expansion, expand
from stillmotion.executor.export import Interrupted, export_video
from stillmotion.executor.failures import failed
from stillmotion.executor.inspection import Inspection, LazyChecker
from stillmotion.executor.loaded import Engines, Picture, load_manifests, load_pictures
from stillmotion.executor.messages import (
    MAX_LOG,
    Cancel,
    Configure,
    Message,
    Ready,
    Report,
    Run,
    Shutdown,
    Unfit,
    decode,
    encode,
)
from stillmotion.executor.previews import Previews
from stillmotion.executor.ranks import JOIN, Followers, meeting_place
from stillmotion.job import Cancelled, Done, Event, Failed, Job, Log, Progress, Work
from stillmotion.media.confinement import end_with_parent
from stillmotion.media.recompress import recompress

if TYPE_CHECKING:
    from stillmotion.engine.engine import Engine

logger = logging.getLogger(__name__)


class Channel:
    """The two ends of the pipe to the platform, one message per line; ``send`` from any thread."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._lock = threading.Lock()

    def receive(self) -> Message | None:
        """The next message; None when the platform has gone."""
        line = self._incoming.readline()
        return decode(line) if line else None

    def send(self, message: Message) -> None:
        line = encode(message)
        with self._lock:
            self._outgoing.write(line)
            self._outgoing.flush()


def claim_channel() -> Channel:
    """Takes stdin and stdout for the channel alone: whatever a library prints goes to stderr from here on."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Channel(incoming, outgoing)


class Attempt:
    """One work on its way through the engine into its file."""

    def __init__(self, work: Work, channel: Channel, home: "Home", stop: threading.Event) -> None:
        self._work, self._channel, self._home, self._stop = work, channel, home, stop
        self._inspection = Inspection(work.job, home.checker.get, self._log, stop.is_set)
        self._previews: Previews | None = None

    def perform(self) -> Event:
        """Reports logs and progress on the way; the terminal event is returned."""
        from stillmotion.engine.sampler import Stopped

        try:
            return self._generate()
        except (Stopped, Interrupted):
            return Cancelled()
        except Exception as error:
            logger.error("work %s failed", self._work.id, exc_info=error)
            return lost(error) if is_sticky(error) else failed(error)

    def _generate(self) -> Done:
        began = time.perf_counter()
        job = self._work.job
        engine, manifest = self._home.engines.get(job.model)
        self._log(f"engine process {os.getpid()} on {self._home.engines.device}, model {job.model}, seed {job.seed}")
        pictures = load_pictures(self._work)
        self._inspection.admit(pictures)
        job, expansion = self._expanded(job, engine, pictures)
        images = {name: recompress(picture, manifest.image_crf) for name, picture in pictures.items()}
        prepared = time.perf_counter() - began
        if self._home.followers is not None:
            self._home.followers.follow(replace(self._work, job=job))
        self._previews = self._begin_previews()
        generation = engine.generate(
            job,
            images,
            loras={name: Path(path) for name, path in self._work.loras.items()},
            on_progress=self._progress,
            should_stop=self._home.engines.agreed(self._stop.is_set),
            on_log=self._log,
            offer_preview=self._previews.offer if self._previews else None,
        )
        frames = self._inspection.watch(generation.frames)
        media, encoding = export_video(
            self._work, frames, generation.audio, generation.sample_rate, should_stop=self._stop.is_set
        )
        seconds = {"prepare": prepared, **generation.seconds, "encode": encoding}
        if self._previews is not None:
            seconds["previews"] = self._previews.seconds  # a part of denoise
        if self._inspection.checked:
            seconds["safety"] = self._inspection.seconds
        seconds["total"] = time.perf_counter() - began
        self._log("seconds: " + ", ".join(f"{part} {value:.2f}" for part, value in seconds.items()))
        prompt = job.prompt if expansion and expansion.expanded else None
        return Done(media=media, seconds=seconds, prompt=prompt, checked=self._inspection.checked)

    def _expanded(self, job: Job, engine: "Engine", pictures: Mapping[str, Picture]) -> tuple[Job, Expansion | None]:
        """The job with the prompt as the bundle's own text model rewrote it, where it was asked to."""
        from stillmotion.engine.sampler import Stopped

        expansion = expand(
            job,
            engine.chat,
            pictures,
            seconds=self._home.expansion_seconds,
            should_stop=self._stop.is_set,
            fatal=lambda error: isinstance(error, Stopped) or is_sticky(error),
        )
        if expansion is None:
            return job, None
        self._log(expansion.note, expansion.level)
        self._inspection.admit_prompt(expansion.text)
        return replace(job, prompt=expansion.text), expansion

    def _begin_previews(self) -> Previews | None:
        if self._work.preview is None:
            return None
        if self._inspection.is_watching:  # it sees frames of the finished video; nobody shall see them before
            self._log("no preview pictures: the safety checker sees the video first")
            return None
        return Previews(self._work.preview, self._log)

    def _progress(self, progress: Progress) -> None:
        stage = f", stage {progress.stage + 1} of {progress.stages}" if progress.stages > 1 else ""
        self._log(f"denoising step {progress.step} of {progress.total}{stage}")
        self._report(replace(progress, preview=self._previews.newest() if self._previews else None))

    def _log(self, message: str, level: Literal["INFO", "WARN"] = "INFO") -> None:
        self._report(Log(message=message[:MAX_LOG], level=level))

    def _report(self, event: Event) -> None:
        self._channel.send(Report(work_id=self._work.id, event=event))


def is_sticky(error: BaseException | None) -> bool:
    """Whether ``error`` or what caused it left the GPU's context unusable: CUDA repeats such an error for ever."""
    while error is not None:
        if "CUDA error" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def lost(error: BaseException) -> Failed:
    """The event for an error after which this process must not take another work."""
    return replace(failed(error), kind=EngineLost.kind, fatal=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """What the works of this process are done with."""

    engines: Engines
    checker: LazyChecker
    followers: Followers | None
    expansion_seconds: float

    def left_waiting(self, end: Failed) -> bool:
        """Whether other processes may wait for ever for what this one did not come to: then all begin anew."""
        return self.followers is not None and end.kind in (OutOfMemory.kind, StillmotionError.kind)


class Host:
    """The works that wait and the one that runs, between the reading thread and the computing one."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._changed = threading.Condition()
        self._waiting: dict[str, Work] = {}
        self._running = ""
        self._stop = threading.Event()
        """For the work that runs."""

    def listen(self) -> None:
        """The reading thread; ends the process, whatever it computes, on Shutdown or when the platform has gone."""
        try:
            while (message := self._channel.receive()) is not None and not isinstance(message, Shutdown):
                if isinstance(message, Run):
                    with self._changed:
                        self._waiting[message.work.id] = message.work
                        self._changed.notify()
                elif isinstance(message, Cancel):
                    self._cancel(message.work_id)
        finally:
            # Not sys.exit: nothing here is worth a wait for the device, and the file under way is the platform's.
            os._exit(0)

    def compute(self, home: Home, first_model: str) -> None:
        """The computing thread; returns when the engine is no longer fit."""
        try:
            home.engines.get(first_model)
            home.checker.get()
        except Exception as error:
            if is_sticky(error):
                raise
            logger.error("%s", error)  # the first work that needs it fails with the same words
        end: Event | None = None
        while not (isinstance(end, Failed) and (end.fatal or home.left_waiting(end))):
            work, stop = self._next()
            end = Attempt(work, self._channel, home, stop).perform()
            self._channel.send(Report(work_id=work.id, event=end))

    def _next(self) -> tuple[Work, threading.Event]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._running, work = next(iter(self._waiting.items()))
            del self._waiting[work.id]
            self._stop = threading.Event()
            return work, self._stop

    def _cancel(self, work_id: str) -> None:
        with self._changed:
            if work_id == self._running:
                self._stop.set()
            elif self._waiting.pop(work_id, None):  # behind a load that may take minutes
                self._channel.send(Report(work_id=work_id, event=Cancelled()))


def main() -> None:
    channel = claim_channel()
    faulthandler.enable()  # a crash in native code leaves its trace on stderr, whose end the platform keeps
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    configure = channel.receive()
    if not isinstance(configure, Configure):
        return
    end_with_parent(configure.parent)
    try:
        manifests = load_manifests(configure)
    except StillmotionError as error:
        channel.send(Unfit(kind=error.kind, message=error.message))
        return
    channel.send(Ready(models=tuple(replace(manifest.model(), name=name) for name, manifest in manifests.items())))
    # The reading thread comes first: the platform may end while the devices still look for each other.
    host = Host(channel)
    threading.Thread(target=host.listen, name="channel", daemon=True).start()
    host.compute(_home(configure, manifests, channel), next(iter(manifests)))
    os._exit(1)


def _home(configure: Configure, manifests: Mapping[str, Manifest], channel: Channel) -> Home:
    devices = configure.device.split(JOIN)
    group = followers = None
    if len(devices) > 1:
        from stillmotion.engine.components import choose_device
        from stillmotion.engine.parallel.group import join

        meeting = meeting_place()
        followers = Followers.start(configure, devices, meeting)
        group = join(0, len(devices), meeting, choose_device(devices[0]))
    return Home(
        engines=Engines(configure, manifests, device=devices[0], on_loaded=channel.send, group=group),
        checker=LazyChecker(configure.classifier),
        followers=followers,
        expansion_seconds=configure.expansion_seconds,
    )


if __name__ == "__main__":
    main()
