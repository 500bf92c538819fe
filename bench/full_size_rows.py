"""What is measured at full size, the most valuable first, and the jobs that the endpoints' own plans make of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from bench.random_bundle import Scale
from stillmotion.endpoints import ltx_2_3_22b_lora, ltx_2_3_quality, ltx_2_19b
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.engine.attention import Attention
from stillmotion.job import Acceleration, Family, Job, Model

Request = Literal["lora", "quality", "19b"]
Size = Literal["large", "small"]

ENDPOINTS: Mapping[Request, Endpoint] = MappingProxyType(
    {"lora": ltx_2_3_22b_lora.ENDPOINT, "quality": ltx_2_3_quality.ENDPOINT, "19b": ltx_2_19b.ENDPOINT}
)
"""Those of which a size can be asked."""
SIZES: Mapping[Scale, Mapping[Size, tuple[int, int, int]]] = MappingProxyType(
    {
        "full": {"large": (1280, 704, 121), "small": (768, 512, 121)},
        # Stages of half the size need sides of 64.
        "tiny": {"large": (192, 128, 9), "small": (128, 128, 9)},
    }
)
_TINY_STEPS = 2
PROMPT = "A woman stands still amid a busy neon-lit street at night while the camera slowly dollies in toward her face."


class State(NamedTuple):
    """What networks are built for; rows of the same can be measured on the same ones."""

    family: Family
    float8: bool
    compiled: bool
    gigabytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One endpoint's defaults at one size, under one way of computing them."""

    request: Request
    size: Size = "large"
    acceleration: Acceleration | None = None
    """``None``: the endpoint's default."""
    attention: Attention = "auto"
    float8: bool = False
    compiled: bool = False
    gigabytes: int | None = None
    """Of the device's memory that may be used; ``None``: all of it."""
    stock: bool = False
    """Whether the peer runs beside it, taking turns."""

    @property
    def family(self) -> Family:
        return ENDPOINTS[self.request].model_family

    @property
    def state(self) -> "State":
        return State(self.family, self.float8, self.compiled, self.gigabytes)

    def name(self, scale: Scale) -> str:
        width, height, frames = SIZES[scale][self.size]
        ways = [
            f"acceleration {self.acceleration}" if self.acceleration else "",
            f"attention {self.attention}" if self.attention != "auto" else "",
            "float8" if self.float8 else "",
            "compiled" if self.compiled else "",
            f"{self.gigabytes} GB" if self.gigabytes else "",
        ]
        return ", ".join((f"{self.request} {width}x{height}x{frames}", *filter(None, ways)))


ROWS: tuple[Row, ...] = (
    Row(request="lora", stock=True),
    Row(request="quality", stock=True),
    Row(request="lora", size="small", stock=True),
    Row(request="lora", gigabytes=80),
    Row(request="lora", gigabytes=24),
    Row(request="19b", acceleration="none", stock=True),
    Row(request="19b"),
    Row(request="19b", size="small", acceleration="none", stock=True),
    Row(request="lora", compiled=True),
    Row(request="lora", size="small", compiled=True),
    Row(request="lora", float8=True),
    Row(request="lora", float8=True, gigabytes=24),
    Row(request="lora", acceleration="regular"),
    Row(request="lora", acceleration="high"),
    Row(request="lora", acceleration="full"),
    Row(request="lora", attention="cudnn"),
    Row(request="lora", attention="flash_3"),
    Row(request="lora", attention="sage"),
    Row(request="quality", size="small", stock=True),
    Row(request="19b", gigabytes=80),
    Row(request="19b", gigabytes=24),
    Row(request="19b", size="small", gigabytes=80),
    Row(request="19b", size="small", gigabytes=24),
    Row(request="quality", gigabytes=80),
    Row(request="quality", gigabytes=24),
    Row(request="quality", size="small", gigabytes=80),
    Row(request="quality", size="small", gigabytes=24),
    Row(request="lora", size="small", gigabytes=80),
    Row(request="lora", size="small", gigabytes=24),
)
"""By value; of equals, those of one family and one state of the networks together: building them takes a while."""


def make_job(row: Row, scale: Scale, model: Model, picture: tuple[int, int]) -> Job:
    """The job that the endpoint plans for its defaults; ``tiny``: with two steps in each stage that can have so few.

    ``picture``: width and height of the one picture.
    """
    endpoint = ENDPOINTS[row.request]
    width, height, frames = SIZES[scale][row.size]
    size = "resolution" if "resolution" in endpoint.input.model_fields else "video_size"
    body: dict[str, Any] = {
        "prompt": PROMPT,
        "image_url": "picture",
        "num_frames": frames,
        size: {"width": width, "height": height},
    }
    if row.request == "lora":
        body["loras"] = []
    if row.acceleration:
        body["acceleration"] = row.acceleration
    request = endpoint.parse(body, Bounds())
    job = endpoint.plan(request, {"image_url": picture}, 1, model).job
    return shortened(job, _TINY_STEPS) if scale == "tiny" else job


def shortened(job: Job, steps: int) -> Job:
    """``job`` with fewer steps on every schedule that begins at the same noise level however many it has."""
    stages = tuple(
        stage if stage.schedule == "distilled" else replace(stage, steps=min(stage.steps, steps))
        for stage in job.stages
    )
    return replace(job, stages=stages)
