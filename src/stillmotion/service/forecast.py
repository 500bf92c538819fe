"""What an input would give, before it is sent: size, length, price, and how long it takes here. Nothing is stored."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.endpoint import Endpoint, Plan
from stillmotion.endpoints.prices import Price
from stillmotion.errors import InputError, ValidationError
from stillmotion.job import Job, Model
from stillmotion.service import faults
from stillmotion.service.expectation import UNKNOWN, Expectation, expect
from stillmotion.store.driver import Store
from stillmotion.store.records import Error

Size = tuple[int, int]

SHAPES: tuple[Size, ...] = ((1280, 720), (720, 1280), (1024, 1024), (1024, 768))
"""Pictures to ask with where nobody knows the picture: what all of them lead to does not depend on it."""
CONTENT_TYPES = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "gif": "image/gif",
    "png": "image/png",
}
STAND_INS: Mapping[str, Any] = {"prompt": "-", "negative_prompt": "-", "loras": ()}
"""For what a person has not written yet, and what does not change the figures."""
PICTURE = "data:,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """None: depends on the picture, or the input is at fault. ``error`` is what a submit would tell."""

    model: str
    error: Error | None
    width: int | None = None
    height: int | None = None
    num_frames: int | None = None
    fps: float | None = None
    megapixels: float | None = None
    content_type: str | None = None
    price: Price | None = None
    computed: tuple[int, int, int, int] | None = None
    """Width, height and frames of the last stage, and the steps of all stages."""
    notes: tuple[str, ...] = ()
    expectation: Expectation = UNKNOWN


async def forecast(
    endpoint: Endpoint, raw: Mapping[str, Any], size: Size | None, model: Model, bounds: Bounds, store: Store
) -> Forecast:
    """``size``: width and height of the upright picture that ``raw`` names, None where they are not known."""
    request, error = _understood(endpoint, raw, bounds)
    if request is None:
        return Forecast(model=model.name, error=error)
    plans = [_planned(endpoint, request, each, model) for each in ([size] if size else SHAPES)]
    jobs = [plan.job for plan in plans]
    prices = [endpoint.price(request, job) for job in jobs]
    told = Forecast(
        model=model.name,
        error=error,
        width=_same(job.width for job in jobs),
        height=_same(job.height for job in jobs),
        num_frames=_same(job.num_frames for job in jobs),
        fps=_same(job.fps for job in jobs),
        megapixels=_same(float(Decimal(job.width * job.height * job.num_frames) / 1_000_000) for job in jobs),
        content_type=CONTENT_TYPES[plans[0].encoding.container],
        price=_same(prices),
        computed=_same(_computed(job) for job in jobs),
        notes=plans[0].notes if _same(plan.notes for plan in plans) else (),
    )
    # A picture of another shape takes about as long: where its shape decides the size, the pixels are about the same.
    return replace(told, expectation=await expect(store, endpoint.id, jobs[0]))


def _understood(endpoint: Endpoint, raw: Mapping[str, Any], bounds: Bounds) -> tuple[Any, Error | None]:
    """The request, or None where it cannot be, and what is wrong with it.

    A picture, a prompt or a LoRA that is missing is a fault, but figures can be had without.
    """
    try:
        return endpoint.parse(raw, bounds), None
    except ValidationError as error:
        fault = error
    stand_ins: dict[str, Any] = {**STAND_INS, **dict.fromkeys(endpoint.image_fields, PICTURE)}
    faulty = {str(detail.loc[1]) for detail in fault.details if len(detail.loc) > 1}
    known = {endpoint.aliases.get(name, name) for name in faulty}
    if not faulty or not known <= stand_ins.keys():
        return None, faults.stored(fault)
    mended = {name: value for name, value in raw.items() if name not in faulty}
    try:
        return endpoint.parse({**mended, **{name: stand_ins[name] for name in known}}, bounds), faults.stored(fault)
    except InputError:
        return None, faults.stored(fault)


def _planned(endpoint: Endpoint, request: Any, size: Size, model: Model) -> Plan:
    return endpoint.plan(request, dict.fromkeys(endpoint.image_fields, size), 0, model)


def _computed(job: Job) -> tuple[int, int, int, int]:
    last = job.stages[-1]
    return last.width, last.height, last.num_frames, sum(stage.steps for stage in job.stages)


def _same(values: Any) -> Any:
    """The one value that all of them are; None where they differ."""
    first, *others = values
    return first if all(other == first for other in others) else None
