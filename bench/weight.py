"""What the API side costs before it has done anything: seconds to import, memory, and what it must not load."""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from platform_process import PlatformProcess

from bench.report import Section

RUNS = 7
HEAVY = ("torch", "diffusers", "transformers")
METHOD = f"""A fresh interpreter imports `stillmotion.app` (all of the platform but the command line), {RUNS} times,
with warm file caches; medians. A server is `stillmotion serve --engine mock` on a new data directory, from the start
of the process to its first answer on `/health/ready`; memory is resident (RSS) then."""
PROGRAM = """
import json, sys, time
began = time.perf_counter()
if sys.argv[1:]:
    import stillmotion.app
seconds = time.perf_counter() - began
import psutil
print(json.dumps({"seconds": seconds, "rss": psutil.Process().memory_info().rss, "modules": sorted(sys.modules)}))
"""


def bench() -> Section:
    bare = [_child() for _ in range(RUNS)]
    full = [_child("import") for _ in range(RUNS)]
    loaded = sorted({name for each in full for name in HEAVY if name in each["modules"]})
    servers = [asyncio.run(_server()) for _ in range(3)]
    seconds = [each["seconds"] for each in full]
    return Section(
        title="import time and memory of the API side",
        method=METHOD,
        rows=[
            (
                "`import stillmotion.app`",
                f"{statistics.median(seconds):.2f} s (runs {min(seconds):.2f} to {max(seconds):.2f}), "
                f"{_median_mb(full)} MB, {len(full[0]['modules'])} modules",
            ),
            ("the interpreter alone, for comparison", f"{_median_mb(bare)} MB, {len(bare[0]['modules'])} modules"),
            (", ".join(HEAVY), f"loaded: {', '.join(loaded)}" if loaded else "not loaded"),
            (
                "a server, ready and idle",
                f"{statistics.median(each['seconds'] for each in servers):.2f} s to ready, {_median_mb(servers)} MB",
            ),
        ],
        faults=[f"the API side loads {name}" for name in loaded],
    )


def _child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


async def _server() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="stillmotion-bench-") as folder:
        server = PlatformProcess(Path(folder), {})
        began = time.perf_counter()
        await server.start()
        try:
            seconds = time.perf_counter() - began
            return {"seconds": seconds, "rss": psutil.Process(server.pid).memory_info().rss}
        finally:
            server.terminate()
            await server.ended()


def _median_mb(found: list[dict[str, Any]] | list[dict[str, float]]) -> str:
    return f"{statistics.median(each['rss'] for each in found) / 1e6:.0f}"
