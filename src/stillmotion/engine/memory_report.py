"""The plan of memory for a machine that may not be this one, to be read before it is bought."""

import json
from pathlib import Path
from typing import Any

from stillmotion.engine.footprint import in_8_bits, measure_bundle
from stillmotion.engine.hardware import RESERVE
from stillmotion.engine.manifest import load_manifest
from stillmotion.engine.memory_plan import Room, make_plan, shown
from stillmotion.engine.tiling import Limits
from stillmotion.engine.workload import usual_workload

_BF16 = 2


def report(question: str) -> list[str]:
    """Lines that answer ``question``, a JSON object: folder, width, height, num_frames, memory (bytes), host (bytes or
    null) and float8.

    For one stage of that size with full guidance in bf16, which recipes of several stages do not exceed. Raises
    BundleError, or OutOfMemory where it does not fit.
    """
    asked: dict[str, Any] = json.loads(question)
    folder = Path(asked["folder"])
    manifest = load_manifest(folder)
    footprint = measure_bundle(folder, manifest, itemsize=_BF16)
    footprint = in_8_bits(footprint) if asked["float8"] else footprint
    size = {name: asked[name] for name in ("width", "height", "num_frames")}
    room = Room(device=max(0, asked["memory"] - RESERVE), host=asked["host"])
    plan = make_plan(footprint, usual_workload(footprint.widths, manifest, **size), room, limits=Limits())
    lines = [line.removeprefix("memory: ") for line in plan.table()]
    if plan.level != "resident":
        lines.append(f"the host keeps {shown(footprint.size)} of weights")
    if plan.decoded_cells < Limits().decoded_cells:
        lines.append("frames are decoded in tiles to fit")
    return lines
