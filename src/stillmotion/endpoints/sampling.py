"""How a stage samples: the parameters of the denoising run, and what distilled weights put in the place of defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from stillmotion.endpoints.adapters import Adapters
from stillmotion.job import Guidance, Model, Schedule

Request = TypeVar("Request", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """A ``Stage`` without its canvas."""

    steps: int
    schedule: Schedule = "ltx2"
    video: Guidance = field(default_factory=Guidance)
    audio: Guidance = field(default_factory=Guidance)
    gradient_gamma: float = 0.0
    restart: bool = False
    adapters: Adapters = field(default_factory=Adapters)
    notes: tuple[str, ...] = ()
    """What the log tells about how these came about."""


DISTILLED = Sampling(steps=8, schedule="distilled")
"""What distilled weights were trained for: eight levels, no guidance."""


def refining(adapters: Adapters) -> Sampling:
    """The published refinement of a doubled video: the last three levels of the distilled schedule, no guidance.

    Restart noise and gradient estimation stay in the first stage: three steps neither clean noise away nor have a
    history of velocities.
    """
    return Sampling(steps=3, schedule="distilled", adapters=adapters)


class Defaults(NamedTuple, Generic[Request]):
    """A request whose omitted fields have the defaults that suit the model, and the steps and schedule for it."""

    request: Request
    steps: int
    schedule: Schedule
    notes: tuple[str, ...]


def suited(
    request: Request, model: Model, neutral: Mapping[str, float], steps: int, schedule: Schedule
) -> Defaults[Request]:
    """``request`` for ``model``: on distilled weights, guidance fields that were left out take their ``neutral`` value.

    Steps become the distilled ones where the request names none, and the schedule where it names neither. A value that
    was sent is kept, also where it equals the document's default.
    """
    if not model.distilled:
        return Defaults(request, steps, schedule, ())
    sent = request.model_fields_set
    omitted = {name: value for name, value in neutral.items() if name not in sent}
    told = [f"{name} {value:g}" for name, value in omitted.items()]
    if "num_inference_steps" not in sent:
        steps = DISTILLED.steps
        told.append(f"{steps} steps")
        if "scheduler" not in sent:  # its levels are for these steps alone
            schedule = DISTILLED.schedule
            told.append(f"schedule {schedule}")
    notes = (f"model {model.name} is distilled; its own defaults for what was left out: {', '.join(told)}",)
    return Defaults(request.model_copy(update=omitted), steps, schedule, notes if told else ())
