"""What a video costs on fal, as one table of data.

Billed is what is delivered: pixels and frames of the job, not those that the network computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Literal

from stillmotion.job import Job

CURRENCY = "USD"

Unit = Literal["megapixels", "seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """``quantity`` of ``unit`` at ``unit_price`` dollars is ``total`` dollars."""

    quantity: Decimal
    unit: Unit
    unit_price: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """One row of the table."""

    unit: Unit
    unit_price: Decimal
    """Dollars per unit; the lowest, where it depends on the resolution."""
    by_resolution: Mapping[str, Decimal] | None = None
    rounding: Literal["quantity", "total"] | None = None
    """What is rounded up: the quantity to whole units, or the total to ``CENT_PARTS``. None: nothing needs to be."""
    text: str
    """fal's own words."""
    source: str = "the endpoint's document"

    def price(self, resolution: str | None, job: Job) -> Price:
        """The price of ``job``; ``resolution`` is the request's, for a price that depends on it."""
        each = self.by_resolution[str(resolution)] if self.by_resolution else self.unit_price
        quantity = _megapixels(job) if self.unit == "megapixels" else _seconds(job)
        if self.rounding == "quantity":
            quantity = quantity.to_integral_value(ROUND_CEILING)
        total = quantity * each
        if self.rounding == "total":
            total = total.quantize(CENT_PARTS, ROUND_CEILING)
        return Price(quantity=quantity, unit=self.unit, unit_price=each, total=total)


CENT_PARTS = Decimal("0.0001")
"""The documents print dollars to four places."""

_PRO = Pricing(
    unit="seconds",
    unit_price=Decimal("0.06"),
    by_resolution={"1080p": Decimal("0.06"), "1440p": Decimal("0.12"), "2160p": Decimal("0.24")},
    text=(
        "Your request will cost $0.06 per second for 1080p, $0.12 per second for 1440p or $0.24 per second for 2160p."
    ),
)

TABLE: Mapping[str, Pricing] = {
    "fal-ai/ltx-2/image-to-video": _PRO,
    "fal-ai/ltx-2.3/image-to-video": _PRO,
    # "Rounded up" says either document of the next two. The first one's example is 112 whole megapixels at its price,
    # the second one's is 111.5136 megapixels at its price, in dollars to four places. Each is held to its example.
    "fal-ai/ltx-2-19b/image-to-video": Pricing(
        unit="megapixels",
        unit_price=Decimal("0.0018"),
        rounding="quantity",
        # The line break at the end is the document's.
        text=(
            "Your request will cost $0.0018 per megapixel of generated video data (width × height × frames), rounded "
            "up. For example, if you generate a video that is 121 frames long at 1280 × 720, your total generated "
            "video is ≈112 MP, and your request will cost $0.2016.\n"
        ),
    ),
    "fal-ai/ltx-2.3-22b/image-to-video/lora": Pricing(
        unit="megapixels",
        unit_price=Decimal("0.001805"),
        rounding="total",
        text=(
            "Your request will cost $0.001805 per megapixel of generated video data (width × height × frames), rounded "
            "up. For example, if you generate a video that is 121 frames long at 1280 × 720, your total generated "
            "video is ≈112 MP, and your request will cost $0.2013"
        ),
    ),
    # Published: 121 frames at 1280x720 for $0.270, which is 112 whole megapixels (0.26964), not 111.5136 (0.26847).
    "fal-ai/ltx-2.3-quality/image-to-video": Pricing(
        unit="megapixels",
        unit_price=Decimal("0.0024075"),
        rounding="quantity",
        text=(
            "Your request will cost $0.0024075 per megapixel of generated video data (width × height × frames), "
            "rounded up. For example, if you generate a video that is 121 frames long at 1280 × 720, your total "
            "generated video is ≈112 MP, and your request will cost $0.270"
        ),
        source="the endpoint's llms.txt as fal published it in 2026; its page in the documents has no price",
    ),
}
"""Endpoint id to price. An id that is not in it is not priced."""


def billable_units(quantity: Decimal) -> str:
    """``quantity`` as the header ``x-fal-billable-units`` has it: whole without decimals, anything else with eight."""
    whole = quantity.to_integral_value()
    return str(int(whole)) if quantity == whole else f"{quantity:.8f}"


def _megapixels(job: Job) -> Decimal:
    return Decimal(job.width * job.height * job.num_frames) / 1_000_000


def _seconds(job: Job) -> Decimal:
    return Decimal(job.num_frames) / Decimal(str(job.fps))
