"""The documents' worked examples, and the rounding that they imply."""

from decimal import Decimal

import pytest
from corpus import SOURCES
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.endpoints.prices import TABLE, billable_units
from stillmotion.job import Model

MODEL = Model(name="small", family="ltx-2", max_pixels=65536, max_frames=25)
LORA, QUALITY = "fal-ai/ltx-2.3-22b/image-to-video/lora", "fal-ai/ltx-2.3-quality/image-to-video"


def price(id, **fields):
    endpoint = CATALOGUE[id]
    loras = {"loras": []} if id == LORA else {}
    request = endpoint.parse({"prompt": "a cat", "image_url": "data:,", **loras, **fields}, Bounds())
    job = endpoint.plan(request, {"image_url": (1920, 1080)}, 7, MODEL).job
    return endpoint.price(request, job)


@pytest.mark.parametrize(
    ("id", "size", "quantity", "units", "total"),
    [
        ("fal-ai/ltx-2-19b/image-to-video", "video_size", "112", "112", "0.2016"),
        (LORA, "video_size", "111.5136", "111.51360000", "0.2013"),
        (QUALITY, "resolution", "112", "112", "0.26964"),
    ],
)
def test_the_worked_example(id, size, quantity, units, total):
    found = price(id, num_frames=121, **{size: {"width": 1280, "height": 720}})
    assert (found.quantity, found.unit, found.total) == (Decimal(quantity), "megapixels", Decimal(total))
    assert billable_units(found.quantity) == units


def test_the_examples_are_the_documents_own():
    for source in SOURCES[2:4]:
        (printed,) = [word for word in source.document.price.split() if word.startswith("$0.2")]
        found = price(source.document.id, num_frames=121, video_size={"width": 1280, "height": 720})
        assert f"${found.total}" == printed.rstrip(".")
        assert f"${found.unit_price} per megapixel" in source.document.price


@pytest.mark.parametrize("id", ["fal-ai/ltx-2/image-to-video", "fal-ai/ltx-2.3/image-to-video"])
@pytest.mark.parametrize(("resolution", "each"), [("1080p", "0.06"), ("1440p", "0.12"), ("2160p", "0.24")])
@pytest.mark.parametrize(("duration", "fps"), [(6, 25), (8, 50), ("10s", "25")])
def test_seconds_cost_by_resolution_alone(id, resolution, each, duration, fps):
    found = price(id, resolution=resolution, duration=duration, fps=fps)
    seconds = int(str(duration).rstrip("s"))
    assert (found.quantity, found.unit, found.unit_price) == (seconds, "seconds", Decimal(each))
    assert found.total == seconds * Decimal(each)
    assert billable_units(found.quantity) == str(seconds)


def test_the_delivery_is_billed_not_the_request():
    odd = price("fal-ai/ltx-2-19b/image-to-video", num_frames=100, video_size={"width": 999, "height": 1000})
    assert odd.quantity == 100
    assert price(LORA, num_frames=9, video_size="auto").quantity == Decimal(1248 * 704 * 9) / 1_000_000


@given(st.integers(64, 2048), st.integers(64, 2048), st.integers(9, 481))
def test_rounding_is_up_and_by_less_than_one_unit(width, height, frames):
    asked = {"num_frames": frames, "video_size": {"width": width, "height": height}}
    exact = Decimal((width + width % 2) * (height + height % 2) * frames) / 1_000_000
    whole = price("fal-ai/ltx-2-19b/image-to-video", **asked)
    assert whole.quantity == int(whole.quantity)
    assert 0 <= whole.quantity - exact < 1
    assert whole.total == whole.quantity * Decimal("0.0018")
    dollars = price(LORA, **asked)
    assert dollars.quantity == exact
    assert 0 <= dollars.total - exact * Decimal("0.001805") < Decimal("0.0001")
    assert billable_units(exact).count(".") <= 1
    assert Decimal(billable_units(exact)) == exact


def test_every_endpoint_has_a_row_with_its_source():
    assert list(TABLE) == list(CATALOGUE)
    assert all(row.text and row.source for row in TABLE.values())
