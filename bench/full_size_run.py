"""Times full-size networks of random weights on this machine, row by row, against diffusers on the same networks.

    python -m bench.full_size_run --seconds 540

measures the rows of ``full_size_rows`` that the results file does not have yet, the most valuable first, and writes the
file after each; it needs no network and no weights. ``python -m bench full_size`` puts the file into RESULTS.md.
``--profile FILE`` writes torch's table of operators for one step of each stage and for decoding instead.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from bench import ROOT, full_size_profile
from bench.device import describe, limited_memory, peak_bytes, reset_peak
from bench.floor import ASSUMED, Rates, decode_seconds, floor_seconds
from bench.full_size_rows import ROWS, Row, make_job, shortened
from bench.networks import Networks
from bench.random_bundle import Scale
from bench.rates import measured
from stillmotion.engine.components import choose_device, choose_dtype
from stillmotion.engine.engine import Engine
from stillmotion.engine.guidance import needed
from stillmotion.engine.sampler import Stopped
from stillmotion.engine.stages import Images
from stillmotion.errors import StillmotionError
from stillmotion.job import Job

RESULTS = ROOT / "bench/full_size_results.json"
PICTURE = ROOT / "examples/chelsea.png"
_LEAST_RUNS = 2
"""Floors that a row is given at least, for each side, before it is begun: a shortened run and a whole one."""
_COMPILE_SECONDS = 150.0
_WARM_STEPS = 2


class Budget:
    """Seconds that may be spent, and how many are left."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    @property
    def left(self) -> float:
        return self._end - self._clock()

    def over(self) -> bool:
        return self.left <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How to measure."""

    scale: Scale
    repeats: int
    budget: Budget
    rates: Rates | None
    """Measured ones."""
    say: Callable[[str], None]

    def row(self, row: Row, networks: Networks) -> dict[str, Any] | None:
        """What the results file keeps of ``row``; ``None`` where the time was over before all of it was seen once."""
        try:
            engine = networks.engine(row)
            with limited_memory(networks.device, row.gigabytes):
                return self._row(row, networks, engine)
        except Stopped:
            return None
        # The engine's own words for what it cannot do, and torch's for the peer.
        except (StillmotionError, torch.OutOfMemoryError) as error:
            return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}

    def _row(self, row: Row, networks: Networks, engine: Engine) -> dict[str, Any]:
        image = networks.picture
        job = make_job(row, self.scale, engine.manifest.model(), (image.shape[1], image.shape[0]))
        images = {"image_url": image}
        sides: dict[str, Callable[[Job], dict[str, float]]] = {"ours": lambda job: self._ours(engine, job, images)}
        if row.stock:
            sides["stock"] = lambda job: self._stock(networks, job, images)
        for run in sides.values():  # kernels are chosen and memory is taken on the first of its kind
            run(shortened(job, _WARM_STEPS))
        # A prompt of its own, as requests have: an encoder that remembered it would cost nothing.
        job = replace(job, prompt=f"{job.prompt} {row.name(self.scale)}")
        runs, peaks = self._take_turns(sides, job, networks.device)
        result: dict[str, Any] = {
            name: {"seconds": _median(each), "totals": [run["total"] for run in each], "peak_bytes": peaks[name]}
            for name, each in runs.items()
        }
        result |= self._floors(row, job) | {"memory": networks.level(job)}
        if row.stock:
            result["passes"] = {"stock": networks.stock.passes, "needed": _passes(job)}
        return result

    def _take_turns(
        self, sides: dict[str, Callable[[Job], dict[str, float]]], job: Job, device: torch.device
    ) -> tuple[dict[str, list[dict[str, float]]], dict[str, int | None]]:
        """As many rounds as fit, up to ``repeats``; each side's runs and the most memory that one took."""
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        peaks: dict[str, int | None] = dict.fromkeys(sides)
        for turn in range(self.repeats):
            try:
                for name, run in sides.items():
                    reset_peak(device)
                    runs[name].append(run(replace(job, prompt=f"{job.prompt}, run {turn}")))
                    peaks[name] = peak_bytes(device)
            except Stopped:
                if turn == 0:
                    raise
                break
            if self.budget.left < sum(each[-1]["total"] for each in runs.values()):
                break
        whole = min(len(each) for each in runs.values())
        return {name: each[:whole] for name, each in runs.items()}, peaks

    def _ours(self, engine: Engine, job: Job, images: Images) -> dict[str, float]:
        began = time.perf_counter()
        generation = engine.generate(
            job, images, on_progress=lambda progress: None, should_stop=self.budget.over, on_log=self.say
        )
        frames = sum(len(chunk) for chunk in generation.frames)
        assert frames == job.num_frames
        return {**generation.seconds, "total": time.perf_counter() - began}

    def _stock(self, networks: Networks, job: Job, images: Images) -> dict[str, float]:
        began = time.perf_counter()
        networks.stock.generate(job, images, should_stop=self.budget.over)
        return {**networks.stock.seconds, "total": time.perf_counter() - began}

    def _floors(self, row: Row, job: Job) -> dict[str, Any]:
        """Nothing for the tiny networks, whose shapes are not those that the floor is of."""
        if self.scale != "full":
            return {}
        by_rates = {"assumed": ASSUMED} | ({"measured": self.rates} if self.rates else {})
        return {
            "floor": {name: floor_seconds(job, row.family, rates) for name, rates in by_rates.items()},
            "decode_floor": {name: decode_seconds(job, row.family, rates) for name, rates in by_rates.items()},
        }

    def fits(self, row: Row, networks: Networks) -> bool:
        """Whether it is worth beginning: a row that is stopped in its middle has used time for nothing."""
        least = _COMPILE_SECONDS if row.compiled else 0.0
        if self.scale == "full":
            model = networks.model(row)
            job = make_job(row, self.scale, model, (1280, 704))
            least += floor_seconds(job, row.family) * _LEAST_RUNS * (1 + row.stock) + networks.seconds_to_build(row)
        return self.budget.left > least


def run(
    path: Path,
    rows: Sequence[Row],
    networks: Networks,
    *,
    scale: Scale,
    repeats: int,
    budget: Budget,
    again: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Measures ``rows`` that ``path`` lacks, or all of them ``again``; returns those that no time was left for.

    Raises ValueError where ``path`` holds another machine's numbers.
    """
    results = open_results(path, describe(networks.device), scale)
    if "rates" not in results:
        rates = measured(networks.device)
        results["rates"] = None if rates is None else asdict(rates)
        _write(path, results)
    rates = None if results["rates"] is None else Rates(**results["rates"])
    measure = Measure(scale=scale, repeats=repeats, budget=budget, rates=rates, say=say)
    left = []
    for row in rows:
        name = row.name(scale)
        if name in results["rows"] and not again:
            continue
        found = measure.row(row, networks) if measure.fits(row, networks) else None
        if found is None:
            say(f"{name}: no time left")
            left.append(row)
            continue
        say(f"{name}: {found.get('failed') or json.dumps(found['ours']['seconds'])}")
        results["rows"][name] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", **found}
        _write(path, results)
    return left


def open_results(path: Path, machine: dict[str, str], scale: Scale) -> dict[str, Any]:
    """What ``path`` holds, or the beginning of it. Raises ValueError where it is not of this machine and scale."""
    fresh: dict[str, Any] = {"scale": scale, "machine": machine, "rows": {}}
    if not path.exists():
        return fresh
    found: dict[str, Any] = json.loads(path.read_text())
    if (found["scale"], found["machine"]) != (scale, machine):
        raise ValueError(f"{path} holds the numbers of another machine: {found['scale']}, {found['machine']}")
    return found


def _write(path: Path, results: dict[str, Any]) -> None:
    """Whole or not at all: a run may be killed at any time."""
    fresh = path.with_suffix(".part")
    fresh.write_text(json.dumps(results, indent=1) + "\n")
    fresh.replace(path)


def _median(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _passes(job: Job) -> int:
    """Samples that the transformer has to see if none is shared or left out."""
    return sum(stage.steps * len(needed(stage.video, stage.audio)) for stage in job.stages)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.full_size_run", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scale", choices=("full", "tiny"), default="full")
    parser.add_argument("--device", default="auto", help="auto, or torch's name of one")
    parser.add_argument("--seconds", type=float, default=540, help="begin and continue nothing after so many")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side of a row; medians are kept")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="PATTERN", help="only these, as file names match")
    parser.add_argument("--again", action="store_true", help="also rows that the results file has")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="profile the first of the rows into this file")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    options = parser.parse_args()
    budget = Budget(options.seconds)
    rows = [row for row in ROWS if any(fnmatchcase(row.name(options.scale), each) for each in options.rows)]
    if options.list or not rows:
        say("\n".join(row.name(options.scale) for row in rows) or "no such row")
        return 0 if rows else 2
    device = choose_device(options.device)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stillmotion-bench-")))
        dtype = choose_dtype("auto", device)

        def tell(line: str) -> None:
            say(f"{options.seconds - budget.left:6.1f} s  {line}")

        networks = Networks(folder, options.scale, device, dtype, PICTURE, tell)
        if options.profile:
            full_size_profile.write(options.profile, rows[0], networks)
            return 0
        left = run(
            options.results,
            rows,
            networks,
            scale=options.scale,
            repeats=options.repeats,
            budget=budget,
            again=options.again,
            say=tell,
        )
    say(f"{len(rows) - len(left)} of {len(rows)} rows are in {options.results}")
    return 0


def say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
