"""The floor's arithmetic, against figures that were worked out apart from it, and against counting."""

import pytest
import torch
from bench.floor import (
    ASSUMED,
    FLOAT8,
    FLOAT8_ATTENTION,
    decode_flop,
    denoise_flop,
    floor_seconds,
    pass_flop,
    passes,
)
from bench.random_bundle import full_configurations, make_network
from torch.utils.flop_counter import FlopCounterMode

from stillmotion.job import Family, Guidance, Job, Keyframe, Stage

NONE, CFG, ALL = Guidance(), Guidance(cfg=3), Guidance(cfg=3, stg=1, modality=3)
SIZES = ((768, 512), (1280, 704), (1920, 1088))


def job(width: int, height: int, *stages: tuple[int, int, Guidance]) -> Job:
    """121 frames with a start image; each stage is given as what its sides are divided by, its steps and guidance."""
    made = tuple(
        Stage(
            width=width // part,
            height=height // part,
            num_frames=121,
            fps=25.0,
            steps=steps,
            video=guidance,
            audio=guidance,
            start="spatial_x2" if index else "noise",
        )
        for index, (part, steps, guidance) in enumerate(stages)
    )
    return Job(
        model="m",
        prompt="",
        negative_prompt="",
        width=width,
        height=height,
        num_frames=121,
        fps=25.0,
        seed=0,
        audio=True,
        keyframes=(Keyframe(image="image_url", frame=0),),
        stages=made,
    )


@pytest.mark.parametrize(
    ("tokens", "linear", "attention", "bf16", "float8", "both"),
    [
        (6144, 163, 35, 0.261, 0.172, 0.153),
        (14080, 368, 169, 0.725, 0.526, 0.435),
        (32640, 846, 867, 2.405, 1.946, 1.479),
    ],
)
def test_one_pass(tokens: int, linear: float, attention: float, bf16: float, float8: float, both: float) -> None:
    flop = pass_flop(tokens, 121)
    assert (round(flop.linear / 1e12), round(flop.attention / 1e12)) == (linear, attention)
    seconds = [round(flop.seconds(rates), 3) for rates in (ASSUMED, FLOAT8, FLOAT8_ATTENTION)]
    assert seconds == [bf16, float8, both]


# Seconds at the three sizes: bf16, linear layers in 8 bits, attention in 8 bits as well.
DISTILLED = ((1.7, 1.2, 1.1), (4.0, 3.0, 2.7), (11.6, 9.3, 7.6))
ONE_SCALE = ((2.5, 1.8, 1.6), (6.5, 4.9, 4.2), (20.7, 17.0, 13.3))
GUIDED = ((4.9, 3.2, 3.0), (11.4, 7.7, 7.0), (30.6, 22.2, 18.9))
GUIDED_AND_SHARED = ((4.4, 2.9, 2.7), (10.2, 6.9, 6.3), (27.4, 20.0, 17.0))
BY_TEXT = ((6.0, 3.8, 3.6), (13.9, 9.2, 8.4), (37.2, 26.5, 22.6))


@pytest.mark.parametrize(
    ("family", "stages", "shared", "expected"),
    [
        ("ltx-2.3", ((2, 8, NONE), (1, 3, NONE)), True, DISTILLED),
        ("ltx-2.3", ((1, 8, NONE),), True, ONE_SCALE),
        ("ltx-2.3", ((2, 15, ALL), (1, 3, NONE)), False, GUIDED),
        ("ltx-2.3", ((2, 15, ALL), (1, 3, NONE)), True, GUIDED_AND_SHARED),
        ("ltx-2", ((2, 40, CFG), (1, 3, NONE)), True, BY_TEXT),
    ],
)
def test_whole_requests(
    family: Family,
    stages: tuple[tuple[int, int, Guidance], ...],
    shared: bool,
    expected: tuple[tuple[float, float, float], ...],
) -> None:
    for (width, height), seconds in zip(SIZES, expected, strict=True):
        planned = job(width, height, *stages)
        for rates, known in zip((ASSUMED, FLOAT8, FLOAT8_ATTENTION), seconds, strict=True):
            # The figures were rounded twice: to two digits, then to one.
            assert floor_seconds(planned, family, rates, shared=shared) == pytest.approx(known, abs=0.055)


def test_a_shared_prefix_is_not_counted_twice() -> None:
    stage = job(1280, 704, (1, 1, ALL)).stages[0]
    assert passes(stage, "ltx-2.3", shared=False) == 4
    assert passes(stage, "ltx-2.3") == pytest.approx(3 + 20 / 48)
    assert passes(stage, "ltx-2") == pytest.approx(3 + 19 / 48)


def test_an_end_image_is_a_frame_of_tokens_more() -> None:
    one = job(1280, 704, (1, 1, NONE))
    two = Job(
        **{name: getattr(one, name) for name in Job.__dataclass_fields__ if name != "keyframes"},
        keyframes=(*one.keyframes, Keyframe(image="end_image_url", frame=120)),
    )
    assert denoise_flop(two, "ltx-2.3") == pass_flop(17 * 40 * 22, 121)


@pytest.mark.parametrize("family", ["ltx-2", "ltx-2.3"])
def test_decoding_as_counted_on_the_full_network(family: Family) -> None:
    """At an eighth of the area that the constant was counted at."""
    vae = make_network("vae", full_configurations(family)["vae"], torch.device("meta"), torch.bfloat16)
    latents = torch.empty(1, 128, 16, 11, 10, device="meta", dtype=torch.bfloat16)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        vae.decode(latents, return_dict=False)
    assert decode_flop(family, 320, 352, 121) == pytest.approx(counter.get_total_flops(), rel=1e-4)
