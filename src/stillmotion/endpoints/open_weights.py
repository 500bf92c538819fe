"""What the two endpoints with two scales share: their fields are the same but for how the first stage samples."""

from collections.abc import Mapping
from typing import Any

from stillmotion.endpoints import canvas, planning, stages
from stillmotion.endpoints.endpoint import Plan
from stillmotion.endpoints.sampling import Sampling
from stillmotion.job import Encoding, Job, Model


def planned(
    request: Any,
    sizes: Mapping[str, tuple[int, int]],
    seed: int,
    model: Model,
    *,
    first: Sampling,
    refining: Sampling,
) -> Plan:
    """The plan of an ``Input`` whose first stage, or only one, samples as ``first``."""
    size = planning.requested_size(request.video_size, sizes["image_url"])
    width, height = canvas.even(size)
    container = planning.CONTAINERS[request.video_output_type]
    clip = ((width, height), request.num_frames, request.fps, model)
    if request.use_multiscale:
        chain = stages.multiscale(*clip, first=first, refining=refining)
    else:
        chain = stages.single(*clip, first)
    job = Job(
        model=model.name,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=width,
        height=height,
        num_frames=request.num_frames,
        fps=request.fps,
        seed=seed,
        audio=request.generate_audio and container != "gif",
        keyframes=planning.keyframes(
            request.num_frames,
            strength=request.image_strength,
            end=request.end_image_url is not None,
            end_strength=request.end_image_strength,
            backward=request.interpolation_direction == "backward",
        ),
        stages=chain.stages,
        acceleration=request.acceleration,
        expand_prompt=request.enable_prompt_expansion,
        check_safety=request.enable_safety_checker,
    )
    encoding = Encoding(container=container, quality=request.video_quality, write_mode=request.video_write_mode)
    return Plan(job, encoding, (*planning.size_notes(size, job), *chain.notes))
