"""The LoRAs of a pair of networks: which are on, at which scales."""

import hashlib
import math
import time
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from stillmotion.engine.lora.banks import PRISTINE, Banks, Key, key_of
from stillmotion.engine.lora.match import LoraFile
from stillmotion.engine.lora.merge import Term
from stillmotion.engine.lora.names import Target, Targets
from stillmotion.engine.lora.tensorfile import Stamp, shown, stamp
from stillmotion.engine.lora.unmerged import Hooks
from stillmotion.engine.memory import memory_told
from stillmotion.errors import EngineError

Mode = Literal["auto", "merged", "unmerged"]
Selection = Sequence[tuple[Path, float]]
"""Files and scales; their order does not matter, and a file that comes twice has the sum of its scales."""

_REMEMBERED_FILES = 32


@dataclass(frozen=True, slots=True)
class Identity:
    """What a selection is, by content: equal identities compute equally."""

    key: str
    """Empty without LoRAs."""
    connectors_key: str
    """Of those files only that change the connectors, and so the embeddings of texts; empty without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What ``use`` did."""

    files: Mapping[str, float]
    """Name and scale of each file that is on."""
    layers: int
    """Layers that these change."""
    written: int
    """Weights that had to be computed or copied; 0 where the set was held."""
    mode: Literal["merged", "unmerged"]
    seconds: float

    def __str__(self) -> str:
        if not self.files:
            return f"no LoRAs ({self.written} layers restored in {self.seconds:.2f} s)"
        files = ", ".join(f"{shown(name)} x {scale:g}" for name, scale in self.files.items())
        return f"{files}: {self.layers} layers {self.mode}, {self.written} written, in {self.seconds:.2f} s"


class Adapters:
    """Puts LoRAs on a transformer and its connectors, and takes them off again to the bit. Not for several threads.

    ``mode``:

    - ``merged``: into the weights, at no cost while they compute. Memory of the weights' own device is used up to
      ``keep_bytes`` to hold sets of weights, so that going back and forth between them costs nothing (banks.py); with
      0 each set is written over the last in the same memory. The pristine weights of changed layers go to the host
      when they lose their place.
    - ``unmerged``: beside the weights (unmerged.py); factors up to ``keep_bytes`` stay on the device.
    - ``auto``: merged, unless the pristine weights of the changed layers neither fit ``host_bytes`` (``None``: any) nor
      can stay because the merged ones fit ``keep_bytes``, or the weights are of a type that sums cannot be cast to.

    ``device`` is where sums are computed, and where factors of the unmerged mode stay; ``None`` is where the weight is.
    With ``keep_bytes=0`` weights are only ever written in place.
    """

    def __init__(
        self,
        transformer: nn.Module,
        connectors: nn.Module,
        *,
        mode: Mode = "auto",
        keep_bytes: int = 0,
        host_bytes: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        self._targets = Targets(transformer, connectors)
        self._mode, self._device = mode, device
        self._banks = Banks(keep_bytes=keep_bytes, host_bytes=host_bytes if mode == "auto" else None, device=device)
        self._hooks = Hooks(keep_bytes=keep_bytes, device=device)
        self._files: OrderedDict[tuple[Path, Stamp], LoraFile] = OrderedDict()
        self._identity, self._merged = _NONE, mode != "unmerged"

    @property
    def key(self) -> str:
        """Of the selection that is on."""
        return self._identity.key

    @property
    def connectors_key(self) -> str:
        """Of those files of it that change the connectors; embeddings of texts are valid under one value of it."""
        return self._identity.connectors_key

    def identify(self, selection: Selection) -> Identity:
        """What ``key`` and ``connectors_key`` would be; raises what ``use`` would about the files, changing nothing."""
        return _identity(self._terms(selection))

    def use(self, selection: Selection) -> Report:
        """Puts exactly these LoRAs on; none for an empty selection.

        Raises EngineError for a file that cannot be read or does not fit, or OutOfMemory. The networks then are as
        they were before, or without any LoRA where that could not be kept; ``key`` tells.
        """
        began = time.perf_counter()
        # What is made under inference_mode could not be written outside it.
        with torch.inference_mode(False), torch.no_grad():
            terms = self._terms(selection)
            targets = _by_target(terms)
            identity = _identity(terms)
            written = 0
            if identity != self._identity:
                with memory_told("the weights of LoRAs", self._summing_device(targets)):
                    written = self._apply(targets, key_of(terms))
                self._identity = identity
        return Report(
            files={term.file.name: term.scale for term in terms},
            layers=len(targets),
            written=written,
            mode="merged" if self._merged else "unmerged",
            seconds=time.perf_counter() - began,
        )

    def release(self) -> None:
        """Lets held sets go but for the one that is on; to be called before the networks move elsewhere."""
        with torch.inference_mode(False), torch.no_grad():
            self._banks.release()

    def _apply(self, targets: Mapping[Target, Sequence[Term]], key: Key) -> int:
        merged = self._mode != "unmerged" and self._banks.fit(targets)
        if self._mode == "merged" and not merged:
            raise EngineError("LoRAs cannot be merged into weights of 8 bits")
        self._hooks.clear()
        try:
            written = self._banks.activate(targets if merged else {}, key if merged else PRISTINE)
            if not merged:
                self._hooks.install(targets)
        except BaseException:
            if self._banks.active == PRISTINE:
                self._identity = _NONE
            raise
        self._merged = merged
        return written

    def _terms(self, selection: Selection) -> list[Term]:
        """What is on, in an order of its own: sums would differ in their last bits."""
        scales: defaultdict[str, list[float]] = defaultdict(list)
        files: dict[str, LoraFile] = {}
        for path, scale in selection:
            if not math.isfinite(scale):
                raise EngineError(f"the scale of {path.name} is not a finite number")
            file = self._file(path)
            files.setdefault(file.sha256, file)
            scales[file.sha256].append(scale)
        # fsum rounds once, so that the order of the summands does not matter either.
        totals = {sha256: math.fsum(parts) for sha256, parts in sorted(scales.items())}
        return [Term(files[sha256], scale) for sha256, scale in totals.items() if scale]

    def _file(self, path: Path) -> LoraFile:
        name = path, stamp(path)
        file = self._files.pop(name, None) or LoraFile(path, self._targets)
        self._files[name] = file
        if len(self._files) > _REMEMBERED_FILES:
            self._files.popitem(last=False)
        return file

    def _summing_device(self, targets: Mapping[Target, Sequence[Term]]) -> torch.device:
        return self._device or next((target.module.weight.device for target in targets), torch.device("cpu"))


def _by_target(terms: Sequence[Term]) -> dict[Target, list[Term]]:
    targets: defaultdict[Target, list[Term]] = defaultdict(list)
    for term in terms:
        for target in term.file.pairs:
            targets[target].append(term)
    return dict(targets)


def _identity(terms: Sequence[Term]) -> Identity:
    def digest(chosen: Sequence[Term]) -> str:
        text = "\n".join(f"{sha256} {scale!r}" for sha256, scale in key_of(chosen))
        return hashlib.sha256(text.encode()).hexdigest() if chosen else ""

    connectors = [term for term in terms if any(target.network == "connectors" for target in term.file.pairs)]
    return Identity(digest(terms), digest(connectors))


_NONE = _identity([])
