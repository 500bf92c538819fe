"""Arithmetic of the transformer for each endpoint's defaults, against diffusers' pipeline with the same settings."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.flops import StageCount
from bench.report import Section
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.job import Acceleration, Family, Job, Model

WIDTH, HEIGHT, FRAMES = 1280, 704, 121
SIZE = {"width": WIDTH, "height": HEIGHT}
LEVELS: tuple[Acceleration, ...] = ("none", "regular", "high", "full")

LORA, DEV, QUALITY = (
    "fal-ai/ltx-2.3-22b/image-to-video/lora",
    "fal-ai/ltx-2-19b/image-to-video",
    "fal-ai/ltx-2.3-quality/image-to-video",
)
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": (LORA, {"video_size": SIZE, "loras": []}),
    "lora, one scale": (LORA, {"video_size": SIZE, "loras": [], "use_multiscale": False}),
    "19b": (DEV, {"video_size": SIZE}),
    "19b, one scale": (DEV, {"video_size": SIZE, "use_multiscale": False}),
    "quality": (QUALITY, {"resolution": SIZE}),
}
"""Each endpoint's defaults; and with all steps on the full canvas, where it has the choice."""

GOALS = {"lora": 0.86, "lora, one scale": 0.86, "19b": 1.0, "19b, one scale": 1.0, "quality": 1.0}
"""Most of stock's arithmetic that ``none`` may take."""

METHOD = f"""The transformers in their published shapes on torch's meta device, counted by torch's FlopCounterMode
(matrix products and attention; a multiplication and an addition are two), for one request of {WIDTH}x{HEIGHT},
{FRAMES} frames with sound and every other parameter at its endpoint's default, in the stages that its plan gives for a
model with all upsamplers. Stock is diffusers' transformer, called as LTX2ConditionPipeline calls it for these settings:
only the passes they need, each of them whole. Ours is this engine's Denoiser, one pass after the other. Text encoder,
VAE and upsamplers are in neither. `none` gives stock's video to 1e-5 where stock follows the published formulas
(tests/engine); what the other levels leave out is in docs/acceleration.md. `high` and `full` also skip blocks where the
first one's output held still, which depends on the video: of two numbers the first is without a single skip, the second
with every one that the level allows. Nothing here is a time, and no GPU was used."""


def bench() -> Section:
    rows, faults = [], []
    for name, (endpoint, body) in REQUESTS.items():
        request = Request.of(endpoint, body)
        stock = request.stock()
        rows.append((f"{name}: stock", f"{stock / 1e15:.2f} PFLOP: {request.shape}"))
        for level in LEVELS if request.accelerates else LEVELS[:1]:
            most, least = request.ours(level, skipping=False), request.ours(level, skipping=True)
            rows.append((f"{name}: `{level}`", _told(most, least, stock)))
            if level == "none" and most > GOALS[name] * stock:
                faults.append(f"{name} takes {most / stock:.3f} of stock's arithmetic; the goal is {GOALS[name]}")
    return Section(title="arithmetic of the transformer", method=METHOD, rows=rows, faults=faults)


def _told(most: float, least: float, stock: float) -> str:
    if most == least:
        return f"{most / 1e15:.2f} PFLOP, {most / stock:.3f} of stock"
    return f"{most / 1e15:.2f} to {least / 1e15:.2f} PFLOP, {most / stock:.3f} to {least / stock:.3f} of stock"


@dataclass(frozen=True)
class Request:
    job: Job
    family: Family
    accelerates: bool
    """Whether the endpoint has the parameter."""

    @classmethod
    def of(cls, name: str, body: dict[str, Any]) -> "Request":
        endpoint = CATALOGUE[name]
        family = endpoint.model_family
        model = Model(name=family, family=family, upsamplers=("spatial_x2", "temporal_x2"), loras=("distilled",))
        request = endpoint.parse({"prompt": "p", "image_url": "i", "num_frames": FRAMES, **body}, Bounds())
        plan = endpoint.plan(request, {"image_url": (WIDTH, HEIGHT)}, 1, model)
        return cls(plan.job, family, "acceleration" in endpoint.input.model_fields)

    @cached_property
    def stages(self) -> list[StageCount]:
        return [StageCount(self.family, self.job, stage) for stage in self.job.stages]

    @property
    def shape(self) -> str:
        return ", then ".join(f"{stage.steps} steps at {stage.width}x{stage.height}" for stage in self.job.stages)

    def stock(self) -> float:
        return sum(stage.stock() for stage in self.stages)

    def ours(self, level: Acceleration, *, skipping: bool) -> float:
        return sum(stage.ours(level, skipping=skipping) for stage in self.stages)
