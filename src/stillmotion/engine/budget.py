"""What an engine may use of its machine's memory, and the plans made with it."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from stillmotion.engine import hardware
from stillmotion.engine.checks import place
from stillmotion.engine.footprint import Footprint, in_8_bits, measure_bundle, measure_networks
from stillmotion.engine.manifest import Manifest
from stillmotion.engine.memory_plan import Memory, Plan, Room, make_plan
from stillmotion.engine.parallel.group import Group
from stillmotion.engine.tiling import Limits
from stillmotion.engine.workload import Workload, usual_workload, workload_of
from stillmotion.errors import EngineError, OutOfMemory
from stillmotion.job import Job

_LEAST = {"width": 64, "height": 64, "num_frames": 9}
"""The smallest video: a machine that has no room for it is of no use to the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOptions:
    """What the operator says."""

    memory: Memory = "auto"
    device_bytes: int | None = None
    """Of the device, for everything; ``None``: what is free when the engine is loaded."""
    host_bytes: int | None = None
    """Of the host, for weights that are off the device; ``None``: this engine's share of what is free."""
    engines: int = 1
    """How many engines share the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    footprint: Footprint
    room: Room
    memory: Memory
    limits: Limits
    """What is tiled in any case."""
    streamable: bool = True
    """Whether blocks may come one by one."""

    def plan(self, work: Workload) -> Plan:
        """Raises OutOfMemory, with numbers."""
        return make_plan(
            self.footprint, work, self.room, memory=self.memory, limits=self.limits, streamable=self.streamable
        )

    def plan_job(self, job: Job) -> Plan:
        """The same job has the same plan, whatever ran before.

        Raises OutOfMemory with the first stage that does not fit, if it were the last one, and numbers.
        """
        work = workload_of(job, self.footprint.widths)
        try:
            return self.plan(work)
        except OutOfMemory:
            for index in range(len(work.stages)):
                try:
                    self.plan(replace(work, stages=work.stages[: index + 1]))
                except OutOfMemory as error:
                    raise OutOfMemory(f"{stage_text(job, index)}: {error.message}") from None
            raise

    def plan_start(self, manifest: Manifest, tell: Callable[[str], None] = lambda text: None) -> Plan:
        """For the usual size or, where that does not fit, for one that does; raises OutOfMemory where none does."""
        widths = self.footprint.widths
        try:
            return self.plan(usual_workload(widths, manifest))
        except OutOfMemory as error:
            plan = self.plan(usual_workload(widths, manifest, **_LEAST))
            tell(f"memory: the usual size does not fit: {error.message}")
            return plan

    def agreed(self, group: Group) -> "Budget":
        """The same for all processes of ``group``: that of the one with least room."""
        least = []
        for room in (self.room.device, self.room.host):
            told = [torch.tensor([_number(room)], device=group.device) for _ in range(group.size)]
            least.append(min(int(group.broadcast(each, rank).item()) for rank, each in enumerate(told)))
        host = None if self.room.host is None else least[1]
        return replace(self, room=Room(device=least[0], host=host))


def make_budget(
    folder: Path,
    manifest: Manifest,
    device: torch.device,
    dtype: torch.dtype,
    options: MemoryOptions,
    limits: Limits,
    *,
    processes: int = 1,
    float8: bool = False,
    compiled: bool = False,
) -> Budget:
    """From the bundle's headers and the memory that is free now; ``processes`` share the host's.

    ``float8``: the transformer's weights will be stored in 8 bits; ``compiled``: its blocks will be compiled. Raises
    BundleError, or EngineError for options that exclude each other.
    """
    if compiled and options.memory == "streamed":
        raise EngineError("memory 'streamed' and compiled blocks exclude each other")
    footprint = measure_bundle(folder, manifest, itemsize=dtype.itemsize)
    footprint = in_8_bits(footprint) if float8 else footprint
    memory, device_bytes, host_bytes = options.memory, options.device_bytes, options.host_bytes
    free = max(0, hardware.device_memory(device).free - hardware.RESERVE)
    if device_bytes is not None:
        free = min(free, device_bytes)
    if device.type != "cuda":
        # The device's memory is the host's: nothing is won by weights that wait there, unless one wants to see it work.
        if memory == "auto" and device_bytes is None:
            memory = "resident"
    elif host_bytes is None:
        host_bytes = max(0, hardware.host_memory().free - hardware.HOST_RESERVE) // (processes * options.engines)
    return Budget(
        footprint=footprint,
        room=Room(device=free, host=host_bytes),
        memory=memory,
        limits=limits,
        streamable=not compiled,
    )


def unlimited_budget(manifest: Manifest, networks: Mapping[str, Any], dtype: torch.dtype, limits: Limits) -> Budget:
    """For networks that are where they shall stay: nothing is refused, given up or moved."""
    footprint = measure_networks(manifest, networks, itemsize=dtype.itemsize)
    return Budget(footprint=footprint, room=Room(device=sys.maxsize), memory="resident", limits=limits)


def stage_text(job: Job, index: int) -> str:
    """What is computed in stage ``index`` of ``job``, in words."""
    stage = job.stages[index]
    number = f"{place(job, index)}, " if len(job.stages) > 1 else ""
    return f"{number}{stage.width}x{stage.height} and {stage.num_frames} frames"


def _number(room: int | None) -> int:
    return -1 if room is None else room
