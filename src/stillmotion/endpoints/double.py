"""Stand-ins for endpoints of fal's that this project does not have: for tests of programs that use them too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, create_model

from stillmotion.endpoints import canvas, stages
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.endpoint import Endpoint, Plan
from stillmotion.endpoints.sampling import Sampling
from stillmotion.job import Encoding, Job, Keyframe, Media, Model

STEPS = 4
"""Each is an event of the endpoint's stream."""
RATE = 25.0

Respond = Callable[[Job, Media, str], Mapping[str, Any]]


class AnyOutput(BaseModel):
    """What a double answers is its test's affair."""


def double(
    id: str,
    respond: Respond,
    *,
    input: type[BaseModel] | None = None,
    image_fields: Sequence[str] = (),
    size: tuple[int, int] = (1024, 1024),
    num_frames: int = 1,
) -> Endpoint:
    """An endpoint called ``id`` that answers what ``respond(job, media, url)`` makes of the file that the engine made.

    The file is a PNG of one frame, an MP4 at 25 frames per second of more. It shows the first of the input's
    ``image_fields`` that a request names, in that picture's size, else something drawn in ``size``. ``job`` has the
    request's ``prompt`` and ``seed``. Without ``input`` every field is accepted.
    """
    fields = tuple(image_fields)

    def plan(request: Any, sizes: Mapping[str, tuple[int, int]], seed: int, model: Model) -> Plan:
        shown = next((name for name in fields if name in sizes), None)
        width, height = canvas.even(sizes[shown] if shown else size)
        chain = stages.single((width, height), num_frames, RATE, model, Sampling(steps=STEPS))
        job = Job(
            model=model.name,
            prompt=str(getattr(request, "prompt", "")),
            negative_prompt="",
            width=width,
            height=height,
            num_frames=num_frames,
            fps=RATE,
            seed=seed,
            audio=num_frames > 1,
            keyframes=(Keyframe(image=shown, frame=0),) if shown else (),
            stages=chain.stages,
        )
        return Plan(job, Encoding(container="png" if num_frames == 1 else "mp4"), chain.notes)

    return Endpoint(
        id=id,
        title=id,
        summary="A double.",
        model_family="ltx-2",
        input=input or _any_input(fields),
        output=AnyOutput,
        image_fields=fields,
        check=_unbounded,
        plan=plan,
        respond=lambda job, media, url: dict(respond(job, media, url)),
    )


def _any_input(image_fields: Sequence[str]) -> type[BaseModel]:
    """What the platform itself reads of an input, all of it optional."""
    urls: dict[str, Any] = dict.fromkeys(image_fields, (str | None, None))
    return create_model("AnyInput", prompt=(str, ""), seed=(int | None, None), **urls)


def _unbounded(request: Any, bounds: Bounds) -> list[Any]:
    return []
