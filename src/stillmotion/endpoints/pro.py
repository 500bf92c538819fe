"""What the two Pro endpoints share: a tiered size, whole seconds, and a fixed recipe on the open weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stillmotion.endpoints import canvas, planning
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.endpoint import Plan
from stillmotion.errors import Detail
from stillmotion.job import Encoding, Guidance, Model

VIDEO_GUIDANCE = Guidance(cfg=3.0, stg=1.0, rescale=0.7, modality=3.0)
AUDIO_GUIDANCE = Guidance(cfg=7.0, stg=1.0, rescale=0.7, modality=3.0)
"""The scales of the published LTX-2.3 recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the Pro documents leave to the service."""

    steps: int
    negative_prompt: str


def check(request: Any, bounds: Bounds) -> list[Detail]:
    """Bounds on an ``Input`` of a Pro endpoint."""
    return bounds.text("prompt", request.prompt) + bounds.volume(
        "resolution", canvas.TIERS[request.resolution], request.duration * request.fps
    )


def planner(
    recipe: Recipe, not_yet_honoured: Mapping[str, object]
) -> Callable[[Any, Mapping[str, tuple[int, int]], int, Model], Plan]:
    """The ``plan`` of a Pro endpoint; a schema without ``aspect_ratio`` takes it from the picture."""

    def plan(request: Any, sizes: Mapping[str, tuple[int, int]], seed: int, model: Model) -> Plan:
        aspect = getattr(request, "aspect_ratio", "auto")
        frames = request.duration * request.fps
        size = canvas.tier_size(request.resolution, aspect, sizes["image_url"])
        job = planning.one_stage(
            model,
            prompt=request.prompt,
            negative_prompt=recipe.negative_prompt,
            size=size,
            num_frames=frames,
            fps=float(request.fps),
            seed=seed,
            audio=request.generate_audio,
            keyframes=planning.keyframes(frames, end=getattr(request, "end_image_url", None) is not None),
            steps=recipe.steps,
            video_guidance=VIDEO_GUIDANCE,
            audio_guidance=AUDIO_GUIDANCE,
        )
        notes = planning.size_notes(size, job) + planning.unhonoured(dict(request), not_yet_honoured)
        return Plan(job, Encoding(), tuple(notes))

    return plan
