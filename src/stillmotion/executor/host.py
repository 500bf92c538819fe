"""The engine's process: takes works from a channel, computes them, and reports. ``python -m stillmotion.executor.host``

The only module that composes engine and media. Two threads: the main one computes, the other reads the channel, so
that a cancellation is seen between two steps and the end of the platform ends this process at any moment.
"""

import faulthandler
import importlib.util
import logging
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from stillmotion.engine.manifest import Manifest, load_manifest
from stillmotion.errors import BundleError, ConfigurationError, EngineLost, StillmotionError
from stillmotion.executor.export import Interrupted, export_video
from stillmotion.executor.failures import failed
from stillmotion.executor.messages import (
    MAX_LOG,
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
from stillmotion.job import Cancelled, Done, Event, Failed, Log, Progress, Work
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


class Engines:
    """The engine in memory: one at a time, since a model fills a device."""

    def __init__(self, configure: Configure, manifests: dict[str, Manifest], channel: Channel) -> None:
        self._configure, self._manifests, self._channel = configure, manifests, channel
        self._name = ""
        self._engine: Engine | None = None
        self.device = configure.device
        """Of the engine in memory: never ``auto`` once one is loaded."""

    def get(self, name: str) -> "tuple[Engine, Manifest]":
        """The engine called ``name``, loaded now unless it is the one in memory. Raises BundleError."""
        if name not in self._manifests:
            raise BundleError(f"this engine has no model {name!r}")
        if self._engine is None or self._name != name:
            self._engine = None  # its memory is free before the next one is loaded
            self._engine, self._name = self._load(name), name
        return self._engine, self._manifests[name]

    def _load(self, name: str) -> "Engine":
        began = time.perf_counter()
        # Five to ten seconds: the platform has had its answer about the models by now.
        import torch

        from stillmotion.engine.components import choose_device
        from stillmotion.engine.engine import Engine

        if self._configure.threads is not None:
            torch.set_num_threads(self._configure.threads)
        self.device = str(choose_device(self._configure.device))
        engine = Engine.load(Path(self._configure.bundles[name]), device=self.device, dtype=self._configure.dtype)
        self._channel.send(Loaded(model=name, device=self.device, seconds=time.perf_counter() - began))
        return engine


class Attempt:
    """One work on its way through the engine into its file."""

    def __init__(self, work: Work, channel: Channel, engines: Engines, stop: threading.Event) -> None:
        self._work, self._channel, self._engines, self._stop = work, channel, engines, stop

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
        engine, manifest = self._engines.get(job.model)
        self._log(f"engine process {os.getpid()} on {self._engines.device}, model {job.model}, seed {job.seed}")
        images = {name: _load_image(path, manifest.image_crf) for name, path in self._work.images.items()}
        prepared = time.perf_counter() - began
        generation = engine.generate(job, images, on_progress=self._progress, should_stop=self._stop.is_set)
        media, encoding = export_video(
            self._work, generation.frames, generation.audio, generation.sample_rate, should_stop=self._stop.is_set
        )
        seconds = {"prepare": prepared, **generation.seconds, "encode": encoding}
        seconds["total"] = time.perf_counter() - began
        self._log("seconds: " + ", ".join(f"{part} {value:.2f}" for part, value in seconds.items()))
        return Done(media=media, seconds=seconds)

    def _progress(self, progress: Progress) -> None:
        stage = f", stage {progress.stage + 1} of {progress.stages}" if progress.stages > 1 else ""
        self._log(f"denoising step {progress.step} of {progress.total}{stage}")
        self._report(progress)

    def _log(self, message: str) -> None:
        self._report(Log(message=message[:MAX_LOG]))

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


def _load_image(path: str, crf: int) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return recompress(np.asarray(image.convert("RGB")), crf)


def _manifests(configure: Configure) -> dict[str, Manifest]:
    """By model name. Raises BundleError, or ConfigurationError where the engine's libraries are not installed."""
    for library in ("torch", "diffusers", "transformers"):
        if importlib.util.find_spec(library) is None:  # not imported: that takes seconds
            raise ConfigurationError(f"The engine needs {library}: pip install 'stillmotion[engine]'")
    return {name: load_manifest(Path(folder)) for name, folder in configure.bundles.items()}


class Host:
    """The works that wait and the one that runs, between the reading thread and the computing one."""

    def __init__(self, channel: Channel, engines: Engines) -> None:
        self._channel, self._engines = channel, engines
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

    def compute(self, first_model: str) -> None:
        """The computing thread; returns when the engine is no longer fit."""
        try:
            self._engines.get(first_model)
        except Exception as error:
            if is_sticky(error):
                raise
            logger.error("%s", error)  # the first work that needs it fails with the same words
        end: Event | None = None
        while not (isinstance(end, Failed) and end.fatal):
            work, stop = self._next()
            end = Attempt(work, self._channel, self._engines, stop).perform()
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
        manifests = _manifests(configure)
    except StillmotionError as error:
        channel.send(Unfit(kind=error.kind, message=error.message))
        return
    channel.send(Ready(models=tuple(replace(manifest.model(), name=name) for name, manifest in manifests.items())))
    host = Host(channel, Engines(configure, manifests, channel))
    threading.Thread(target=host.listen, name="channel", daemon=True).start()
    host.compute(next(iter(manifests)))
    os._exit(1)


if __name__ == "__main__":
    main()
