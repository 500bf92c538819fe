"""Sizes and frame counts: what is promised is covered, on the grid, and within a model's limits."""

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.endpoints import canvas
from stillmotion.job import Model

FREE = Model(name="free", family="ltx-2")
SIDES = st.integers(32, 4096).map(lambda side: side + side % 2)


@pytest.mark.parametrize(
    ("image", "size"),
    [
        ((1920, 1080), (1248, 704)),  # the documents' sample
        ((1080, 1920), (704, 1280)),
        ((512, 512), (960, 960)),
        ((600, 400), (1152, 768)),
        ((10_000, 100), (4096, 96)),
        ((100, 10_000), (64, 4096)),
    ],
)
def test_auto_keeps_the_aspect_at_the_documented_budget(image, size):
    assert canvas.auto_size(image) == size


@pytest.mark.parametrize(("tier", "size"), [("1080p", (1920, 1080)), ("1440p", (2560, 1440)), ("2160p", (3840, 2160))])
def test_tiers_are_turned_for_portrait(tier, size):
    assert canvas.tier_size(tier, "16:9", (100, 400)) == size
    assert canvas.tier_size(tier, "9:16", (400, 100)) == size[::-1]
    assert canvas.tier_size(tier, "auto", (400, 399)) == size
    assert canvas.tier_size(tier, "auto", (400, 400)) == size
    assert canvas.tier_size(tier, "auto", (400, 401)) == size[::-1]


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_auto_aspect_is_the_nearer_by_log_ratio(width, height):
    wide, tall = (abs(log(width / height / aspect)) for aspect in (16 / 9, 9 / 16))
    if abs(wide - tall) > 1e-9:
        assert canvas.tier_size("1080p", "auto", (width, height)) == ((1920, 1080) if wide < tall else (1080, 1920))


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_auto_is_on_the_grid_and_near_the_budget(width, height):
    w, h = canvas.auto_size((width, height))
    assert w % 32 == h % 32 == 0
    assert 64 <= min(w, h) <= max(w, h) <= 4096
    if 0.25 <= width / height <= 4:
        assert 0.75 < w * h / canvas.AUTO_PIXELS < 1.06
        assert abs(w / h / (width / height) - 1) < 0.06


@given(st.tuples(SIDES, SIDES), st.integers(9, 481), st.floats(1, 60))
def test_an_unlimited_model_covers_the_delivery_with_less_than_one_cell_to_spare(size, frames, fps):
    grid = canvas.grid(size, frames, fps, FREE)
    assert grid.width % 32 == grid.height % 32 == 0
    assert 0 <= grid.width - size[0] < 32
    assert 0 <= grid.height - size[1] < 32
    assert grid.num_frames % 8 == 1
    assert 0 <= grid.num_frames - frames < 8
    assert grid.fps == fps


@given(st.tuples(SIDES, SIDES), st.integers(9, 481), st.floats(1, 60), st.integers(64, 900), st.integers(9, 121))
def test_limits_cap_what_is_computed(size, frames, fps, cells, most):
    model = Model(name="small", family="ltx-2", max_pixels=cells * 1024, max_frames=most)
    grid = canvas.grid(size, frames, fps, model)
    covering = canvas.grid(size, frames, fps, FREE)
    assert grid.width % 32 == grid.height % 32 == 0
    assert grid.width * grid.height <= max(model.max_pixels, 0)
    assert grid.num_frames % 8 == 1
    assert grid.num_frames <= most
    if covering.width * covering.height <= model.max_pixels:
        assert (grid.width, grid.height) == (covering.width, covering.height)
    elif 0.25 <= size[0] / size[1] <= 4:
        # On a grid this coarse the aspect cannot be met exactly; it must not be thrown away either.
        assert 0.7 < grid.width / grid.height / (size[0] / size[1]) < 1.43
        assert grid.width * grid.height > model.max_pixels * 0.5
    if grid.num_frames < frames:
        # First and last computed frame fall on the first and last delivered one.
        assert (grid.num_frames - 1) / grid.fps == pytest.approx((frames - 1) / fps)


@given(st.tuples(SIDES, SIDES), st.integers(9, 481), st.floats(1, 60), st.integers(0, 3), st.integers(0, 2))
def test_a_canvas_that_is_halved_covers_as_tightly_as_its_grid_allows(size, frames, fps, spatial, temporal):
    grid = canvas.grid(size, frames, fps, FREE, spatial=spatial, temporal=temporal)
    assert grid.width % (32 << spatial) == grid.height % (32 << spatial) == 0
    assert 0 <= grid.width - size[0] < 32 << spatial
    assert 0 <= grid.height - size[1] < 32 << spatial
    assert 0 <= grid.num_frames - frames < 8 << temporal
    assert grid.num_frames % (8 << temporal) == 1


@given(
    st.tuples(SIDES, SIDES),
    st.integers(9, 481),
    st.floats(1, 60),
    st.lists(st.sampled_from(["spatial_x2", "temporal_x2"]), max_size=4),
)
def test_a_ladder_ends_on_its_canvas_and_every_rung_doubles_the_one_before(size, frames, fps, doublings):
    spatial, temporal = doublings.count("spatial_x2"), doublings.count("temporal_x2")
    last = canvas.grid(size, frames, fps, FREE, spatial=spatial, temporal=temporal)
    rungs = canvas.ladder(last, doublings)
    assert rungs[-1] == last
    assert all(rung.width % 32 == rung.height % 32 == 0 and rung.num_frames % 8 == 1 for rung in rungs)
    for doubling, before, after in zip(doublings, rungs, rungs[1:], strict=False):
        if doubling == "spatial_x2":
            assert after == canvas.Grid(before.width * 2, before.height * 2, before.num_frames, before.fps)
        else:
            twice = 2 * (before.num_frames - 1) + 1
            assert after == canvas.Grid(before.width, before.height, twice, before.fps * 2)


def test_limits_below_one_cell_leave_one_cell():
    model = Model(name="tiny", family="ltx-2", max_pixels=1, max_frames=1)
    assert canvas.grid((640, 480), 121, 24, model) == canvas.Grid(32, 32, 1, 24)
    assert canvas.sides((640, 480), model, 1) == (64, 64)
