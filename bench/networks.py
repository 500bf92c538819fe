"""The networks that rows are measured on: one bundle of random weights at a time, built when a row wants another."""

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from bench.full_size_rows import Row, State
from bench.random_bundle import UPSAMPLERS, Bundle, Scale, build
from bench.stock import Stock
from stillmotion.engine import hardware
from stillmotion.engine.attention import use_attention
from stillmotion.engine.budget import Budget
from stillmotion.engine.compilation import compile_blocks
from stillmotion.engine.engine import Engine
from stillmotion.engine.float8 import cast_to_float8
from stillmotion.engine.footprint import Footprint, in_8_bits, measure_networks
from stillmotion.engine.memory_plan import Room
from stillmotion.engine.occupancy import networks_of
from stillmotion.engine.tiling import Limits
from stillmotion.job import Job, Model

_BUILD_SECONDS = 40.0
"""Of the full networks and their LoRA file."""


class Networks:
    def __init__(
        self,
        folder: Path,
        scale: Scale,
        device: torch.device,
        dtype: torch.dtype,
        picture: Path,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.device = device
        self.picture: npt.NDArray[np.uint8] = np.array(Image.open(picture).convert("RGB"))
        self.scale: Scale = scale
        self._folder, self._dtype, self._say = folder, dtype, say
        self._state: State | None = None
        self._bundle: Bundle | None = None
        self._budget: Budget | None = None
        self._engine: Engine | None = None
        self._stock: Stock | None = None

    @property
    def stock(self) -> Stock:
        """The peer, on the networks of the latest ``engine``; only where these are all on the device."""
        assert self._stock is not None, "there are no networks yet"
        return self._stock

    @staticmethod
    def model(row: Row) -> Model:
        """What a row's plan is made for, known before the networks are."""
        return Model(name=row.family, family=row.family, upsamplers=UPSAMPLERS, loras=("distilled",))

    def seconds_to_build(self, row: Row) -> float:
        return 0.0 if self._state == row.state else _BUILD_SECONDS

    def level(self, job: Job) -> str | None:
        """How the engine's plan keeps the networks for ``job``; ``None`` where it has all memory without a plan."""
        return None if self._budget is None else self._budget.plan_job(job).level

    def engine(self, row: Row) -> Engine:
        """The engine as ``row`` wants it.

        Raises OutOfMemory, or EngineError for an attention that this machine does not have.
        """
        if self._state != row.state:
            self._rebuild(row)
        assert self._bundle is not None
        assert self._engine is not None
        use_attention(self._bundle.components.transformer, row.attention, self.device)
        return self._engine

    def _rebuild(self, row: Row) -> None:
        """As ``Engine.load`` does it, but for where the weights come from."""
        # The old networks go first: there is no room for two.
        self._state = self._bundle = self._budget = self._engine = self._stock = None
        gc.collect()
        room = self._room(row.gigabytes)
        bundle = build(self._folder, self.scale, row.family, self.device, self._dtype)
        components, networks = bundle.components, networks_of(bundle.components)
        footprint = measure_networks(bundle.manifest, networks, itemsize=self._dtype.itemsize)
        if row.float8:
            footprint = in_8_bits(footprint)
            cast_to_float8(components.transformer)
        resident = True
        if room is not None:
            self._budget = _budget(footprint, room, row)
            plan = self._budget.plan_start(bundle.manifest, self._say)
            resident = plan.level == "resident" and not row.float8
            for line in plan.table():
                self._say(line)
        if not resident:
            for network in networks.values():
                network.to("cpu")
        if row.compiled:
            compile_blocks(components.transformer, stg_block=bundle.manifest.stg_block)
        self._engine = Engine(bundle.folder, bundle.manifest, components, budget=self._budget, on_device=resident)
        self._engine.prepare(self._say)
        self._stock = Stock(components, bundle.manifest)
        self._bundle, self._state = bundle, row.state

    def _room(self, gigabytes: int | None) -> Room | None:
        """What an engine that is loaded now would find; ``None`` on the processor, whose memory is all there is."""
        if self.device.type != "cuda":
            return None
        free = hardware.device_memory(self.device).free
        if gigabytes is not None:
            free = min(free, gigabytes * 2**30)
        host = hardware.host_memory().free - hardware.HOST_RESERVE
        return Room(device=max(0, free - hardware.RESERVE), host=max(0, host))


def _budget(footprint: Footprint, room: Room, row: Row) -> Budget:
    return Budget(footprint=footprint, room=room, memory="auto", limits=Limits(), streamable=not row.compiled)
