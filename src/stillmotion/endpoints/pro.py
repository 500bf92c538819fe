"""What the two Pro endpoints share: a tiered size, whole seconds, and a fixed recipe on the open weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stillmotion.endpoints import adapters, canvas, planning, stages
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.endpoint import Plan
from stillmotion.endpoints.sampling import DISTILLED, Sampling, refining
from stillmotion.errors import Detail
from stillmotion.job import Encoding, Guidance, Job, Model

VIDEO_GUIDANCE = Guidance(cfg=3.0, stg=1.0, rescale=0.7, modality=3.0)
AUDIO_GUIDANCE = Guidance(cfg=7.0, stg=1.0, rescale=0.7, modality=3.0)
"""The scales of the published LTX-2.3 recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the Pro documents leave to the service."""

    steps: int
    """Of the first stage."""
    negative_prompt: str
    distilled_scale: float
    """Of the distilled LoRA in the refining stages."""


def check(request: Any, bounds: Bounds) -> list[Detail]:
    """Bounds on an ``Input`` of a Pro endpoint."""
    return bounds.text("prompt", request.prompt) + bounds.volume(
        "resolution", canvas.TIERS[request.resolution], request.duration * request.fps
    )


def planner(recipe: Recipe) -> Callable[[Any, Mapping[str, tuple[int, int]], int, Model], Plan]:
    """The ``plan`` of a Pro endpoint; a schema without ``aspect_ratio`` takes it from the picture."""

    def plan(request: Any, sizes: Mapping[str, tuple[int, int]], seed: int, model: Model) -> Plan:
        aspect = getattr(request, "aspect_ratio", "auto")
        num_frames, fps = request.duration * request.fps, float(request.fps)
        size = canvas.tier_size(request.resolution, aspect, sizes["image_url"])
        chain = stages.multiscale(
            size,
            num_frames,
            fps,
            model,
            first=_first_stage(recipe, model),
            refining=refining(adapters.distilled(recipe.distilled_scale, model)),
            from_half_rate=True,
        )
        job = Job(
            model=model.name,
            prompt=request.prompt,
            negative_prompt=recipe.negative_prompt,
            width=size[0],
            height=size[1],
            num_frames=num_frames,
            fps=fps,
            seed=seed,
            audio=request.generate_audio,
            keyframes=planning.keyframes(num_frames, end=getattr(request, "end_image_url", None) is not None),
            stages=chain.stages,
            # The document has no switch for it: what the operator configured sees every video.
            check_safety=True,
        )
        return Plan(job, Encoding(), (*planning.size_notes(size, job), *chain.notes))

    return plan


def _first_stage(recipe: Recipe, model: Model) -> Sampling:
    if model.distilled:
        told = f"model {model.name} is distilled: {DISTILLED.steps} steps, schedule {DISTILLED.schedule}, no guidance"
        return replace(DISTILLED, notes=(told,))
    return Sampling(steps=recipe.steps, video=VIDEO_GUIDANCE, audio=AUDIO_GUIDANCE)
