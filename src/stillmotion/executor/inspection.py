"""The safety checkers beside an engine: they see the pictures that go in and the frames that come out."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import numpy as np
import numpy.typing as npt

from stillmotion.errors import ContentPolicyViolation, EngineError, StillmotionError
from stillmotion.executor.export import Interrupted
from stillmotion.executor.failures import failed
from stillmotion.job import Job
from stillmotion.safety.checker import Checker, Checkers, Picture, Verdict
from stillmotion.safety.configuration import Classifier
from stillmotion.safety.frames import Sampling

NO_CHECKER = "there is no safety checker: neither the pictures nor the video are checked"
"""Told in the log of a work that was to be checked."""

Tell = Callable[[str, Literal["INFO", "WARN"]], None]


class Inspection:
    """What the checkers say about one work. Without a checker, or without ``job.check_safety``, everything passes."""

    def __init__(
        self, job: Job, load: Callable[[], Checker | None], tell: Tell, should_stop: Callable[[], bool]
    ) -> None:
        self._job, self._load, self._tell, self._should_stop = job, load, tell, should_stop
        self._checker: Checker | None = None
        self.seconds = 0.0
        """Wall time of the checkers."""
        self.checked = False
        """Whether a checker saw everything: known once ``watch`` has ended."""

    def admit(self, pictures: Mapping[str, Picture]) -> None:
        """Before anything is computed; ``pictures`` by request field.

        Raises ContentPolicyViolation at the field, EngineError when the checker failed.
        """
        if not self._job.check_safety:
            return
        with _failing_closed():  # not measured: it loads once, when the process starts
            self._checker = self._load()
        if self._checker is None:
            self._tell(NO_CHECKER, "WARN")
            return
        with _failing_closed(), self._measured():
            self._refuse("prompt", self._checker.prompt(self._job.prompt), "the prompt")
            for name, picture in pictures.items():
                self._refuse(name, self._checker.picture(picture), f"the picture of {name}")

    @property
    def is_watching(self) -> bool:
        """Whether a checker is to see what is made: known once ``admit`` has ended."""
        return self._checker is not None

    def admit_prompt(self, prompt: str) -> None:
        """A prompt that was rewritten since ``admit`` saw it; raises as that does."""
        if self._checker is not None:
            with _failing_closed(), self._measured():
                self._refuse("prompt", self._checker.prompt(prompt), "the expanded prompt")

    def watch(self, chunks: Iterator[npt.NDArray[np.uint8]]) -> Iterator[npt.NDArray[np.uint8]]:
        """Hands on the chunks of planar frames; raises as ``admit`` does behind the last one, before a file is done.

        Raises Interrupted when told to stop between two frames.
        """
        if self._checker is None:
            yield from chunks
            return
        sampling = Sampling(self._job.num_frames, self._job.fps)
        for chunk in chunks:
            sampling.see(chunk)
            yield chunk
        if not sampling.complete:
            raise EngineError("the engine made fewer frames than were promised")
        with _failing_closed(), self._measured():
            self._refuse("prompt", self._checker.frames(self._until_stopped(sampling.pictures())), "the video")
        self.checked = True

    @contextmanager
    def _measured(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began

    def _until_stopped(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        for picture in pictures:
            if self._should_stop():
                raise Interrupted
            yield picture

    def _refuse(self, field: str, verdict: Verdict, what: str) -> None:
        if verdict.flagged:
            self._tell(f"the safety checker refuses {what}: {verdict.label} {verdict.score:.2f}", "WARN")
            raise ContentPolicyViolation().at(field)


class LazyChecker:
    """The configured checkers, loaded when they are first asked for: in a process that checks nothing, never."""

    def __init__(self, classifier: Classifier | None) -> None:
        self._classifier = classifier
        self._loaded: Checker | None = None

    def get(self) -> Checker | None:
        """None: none is configured. Raises what loading raises, each time."""
        if self._loaded is None and self._classifier is not None:
            from stillmotion.safety.classifier import ImageClassifier  # imports torch

            self._loaded = Checkers([ImageClassifier.load(self._classifier)])
        return self._loaded


@contextmanager
def _failing_closed() -> Iterator[None]:
    """A checker that fails has not checked: the work fails too, and nobody is told that it broke a policy."""
    try:
        yield
    except (ContentPolicyViolation, Interrupted):
        raise
    except Exception as error:
        told = error.message if isinstance(error, StillmotionError) else failed(error).message
        raise EngineError(f"the safety checker failed: {told}") from error
