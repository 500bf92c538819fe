"""Where the time of one video goes, by stage, on the bundle of random weights."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench import ROOT
from bench.report import Section
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.executor.bundles import RANDOM, ensure_random
from stillmotion.executor.process import ProcessExecutor
from stillmotion.job import Done, Encoding, Event, Job, Model, Work
from stillmotion.media.image import ImageLimits
from stillmotion.media.sandbox import normalise

ENDPOINT = "fal-ai/ltx-2-19b/image-to-video"
PICTURE = ROOT / "examples/chelsea.png"
RUNS = 15
REQUEST = {
    "prompt": "a cat that looks up",
    "image_url": "chelsea.png",
    "video_size": {"width": 256, "height": 256},
    "num_frames": 25,
    "num_inference_steps": 8,
    "seed": 1,
}
METHOD = f"""One request (256x256, 25 frames with sound, 8 steps, guidance 3) on the engine
process (on the processor, not a GPU) with the bundle of random weights: the real architecture and code path with random
weights, a thousandth of the size. So the shares tell what the machinery costs, not how a full model spends its time.
One request to warm up, then {RUNS}; medians, as the engine reports them. Encoding runs beside decoding, so the stages
do not add up to the whole."""


def bench() -> Section:
    with tempfile.TemporaryDirectory(prefix="stillmotion-bench-") as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> Section:
    bundle = await ensure_random(folder)
    began = time.perf_counter()
    executor = ProcessExecutor(bundles={RANDOM: bundle}, device="cpu")
    try:
        (model,) = (await executor.capabilities()).models
        image = folder / "image.png"
        info = await normalise(PICTURE, image, ImageLimits())
        job, encoding = _plan(model, (info.width, info.height))
        ends, walls = [], []
        for number in range(RUNS + 1):
            work = Work(
                id=f"run-{number}",
                job=job,
                encoding=encoding,
                images={"image_url": str(image)},
                output=str(folder / f"{number}.mp4"),
            )
            sent = time.perf_counter()
            ends.append(await _run(executor, work))
            walls.append(time.perf_counter() - sent)
            if number == 0:
                first = time.perf_counter() - began
    finally:
        await executor.close()
    stages = {name: statistics.median(end.seconds[name] for end in ends[1:]) for name in ends[0].seconds}
    return Section(
        title="time of a request by stage",
        method=METHOD,
        rows=[
            *((name, f"{seconds * 1000:,.0f} ms") for name, seconds in stages.items()),
            (
                "the whole, seen from the platform",
                f"{statistics.median(walls[1:]) * 1000:,.0f} ms "
                f"(runs {min(walls[1:]) * 1000:,.0f} to {max(walls[1:]) * 1000:,.0f})",
            ),
            ("from starting the engine to the first video", f"{first:.1f} s"),
        ],
    )


def _plan(model: Model, size: tuple[int, int]) -> tuple[Job, Encoding]:
    endpoint = CATALOGUE[ENDPOINT]
    plan = endpoint.plan(endpoint.parse(REQUEST, Bounds()), {"image_url": size}, 1, model)
    return plan.job, plan.encoding


async def _run(executor: ProcessExecutor, work: Work) -> Done:
    events: list[Event] = [event async for event in executor.run(work)]
    if not isinstance(events[-1], Done):
        raise RuntimeError(f"the work ended in {events[-1]}")
    return events[-1]
