"""The engine in a process's memory, and the pictures it is given."""

import gc
import importlib
import importlib.util
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from stillmotion.engine.manifest import Manifest, load_manifest
from stillmotion.errors import BundleError, ConfigurationError
from stillmotion.executor.messages import Configure, Loaded
from stillmotion.job import Work

if TYPE_CHECKING:
    from stillmotion.engine.engine import Engine
    from stillmotion.engine.parallel.group import Group

logger = logging.getLogger(__name__)

Picture = npt.NDArray[np.uint8]
"""Upright RGB: (rows, columns, 3)."""


class Engines:
    """The engine in memory: one at a time, since a model fills a device.

    ``device``: where it runs, which ``auto`` leaves open until one is loaded. ``group``: the processes that compute
    together with this one.
    """

    def __init__(
        self,
        configure: Configure,
        manifests: Mapping[str, Manifest],
        *,
        device: str,
        on_loaded: Callable[[Loaded], None] = lambda loaded: None,
        group: "Group | None" = None,
    ) -> None:
        self._configure, self._manifests, self._on_loaded, self.group = configure, manifests, on_loaded, group
        self._name = ""
        self._engine: Engine | None = None
        self.device = device

    def get(self, name: str) -> "tuple[Engine, Manifest]":
        """The engine called ``name``, loaded now unless it is the one in memory. Raises BundleError."""
        if name not in self._manifests:
            raise BundleError(f"this engine has no model {name!r}")
        if self._engine is None or self._name != name:
            self._engine = None  # its memory is free before the next one is loaded
            self._engine, self._name = self._load(name), name
        return self._engine, self._manifests[name]

    def agreed(self, decision: Callable[[], bool]) -> Callable[[], bool]:
        """``decision`` of the first process for all of them, where there are several."""
        group = self.group
        return decision if group is None else lambda: group.agree(decision())

    def _load(self, name: str) -> "Engine":
        began = time.perf_counter()
        # Five to ten seconds: the platform has had its answer about the models by now.
        _import_engine()
        import torch

        from stillmotion.engine.budget import MemoryOptions
        from stillmotion.engine.components import choose_device
        from stillmotion.engine.engine import Engine

        configure, tuning = self._configure, self._configure.tuning
        if configure.threads is not None:
            torch.set_num_threads(configure.threads)
        self.device = str(choose_device(self.device))
        engine = Engine.load(
            Path(configure.bundles[name]),
            device=self.device,
            dtype=configure.dtype,
            on_progress=logger.info,
            group=self.group,
            parallel=configure.parallel,
            memory=MemoryOptions(
                memory=tuning.memory,
                device_bytes=tuning.device_memory_bytes,
                host_bytes=tuning.host_memory_bytes,
                engines=tuning.engines,
            ),
            weights=tuning.weights,
            attention=tuning.attention,
            compiled=tuning.compiled,
        )
        self._on_loaded(Loaded(model=name, device=self.device, seconds=time.perf_counter() - began))
        return engine


def _import_engine() -> None:
    """Imports the engine, once, without collecting garbage meanwhile: that makes 650,000 objects that stay, and walking
    them again and again took 0.4 of 3.9 s. Frozen, no later collection walks them either."""
    if "stillmotion.engine.engine" in sys.modules:
        return  # what is no longer needed of another model must not be frozen
    gc.disable()
    try:
        importlib.import_module("stillmotion.engine.engine")
    finally:
        gc.freeze()
        gc.enable()


def load_manifests(configure: Configure) -> dict[str, Manifest]:
    """By model name. Raises BundleError, or ConfigurationError where the engine's libraries are not installed."""
    for library in ("torch", "diffusers", "transformers"):
        if importlib.util.find_spec(library) is None:  # not imported: that takes seconds
            raise ConfigurationError(f"The engine needs {library}: pip install 'stillmotion[engine]'")
    return {name: load_manifest(Path(folder)) for name, folder in configure.bundles.items()}


def load_pictures(work: Work) -> dict[str, Picture]:
    """Request field name to picture."""
    pictures = {}
    for name, path in work.images.items():
        with Image.open(path) as image:
            pictures[name] = np.asarray(image.convert("RGB"))
    return pictures
