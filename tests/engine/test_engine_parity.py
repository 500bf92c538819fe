"""The sampler against diffusers' own pipeline, on the same weights, noise and schedule.

Every feature is first shown to matter: a comparison that does not move when the feature is left out proves nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2VideoCondition
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import AUDIO, FAULTS, FRAMES, GRID, STEPS, VIDEO, Case, Fault, Latents, difference, ours, pipeline, theirs
from PIL import Image

from stillmotion.engine import conditioning, schedule
from stillmotion.engine.components import Components
from stillmotion.job import Family, Guidance

FULL = Case()


@dataclass(frozen=True)
class Reference:
    components: Components
    picture: npt.NDArray[np.uint8]
    latents: Latents


@pytest.fixture(scope="module")
def references(loaded: Mapping[Family, Components], picture: npt.NDArray[np.uint8]) -> Mapping[Family, Reference]:
    return {
        family: Reference(components, picture, ours(components, picture, FULL)) for family, components in loaded.items()
    }


@pytest.fixture
def reference(references: Mapping[Family, Reference], family: Family) -> Reference:
    return references[family]


@pytest.mark.parametrize(
    "without",
    [
        replace(FULL, video=replace(VIDEO, cfg=1)),
        replace(FULL, video=replace(VIDEO, stg=0)),
        replace(FULL, video=replace(VIDEO, modality=1)),
        replace(FULL, video=replace(VIDEO, rescale=0)),
        replace(FULL, audio=replace(AUDIO, cfg=1)),
        replace(FULL, audio=replace(AUDIO, stg=6)),
        replace(FULL, audio=replace(AUDIO, modality=1)),
        replace(FULL, audio=replace(AUDIO, rescale=0)),
        replace(FULL, start=1.0),
        replace(FULL, start=None),
        replace(FULL, end=1.0),
        replace(FULL, end=None),
        replace(FULL, sigmas=tuple(schedule.beta(STEPS))),
        replace(FULL, stg_block=2),
    ],
    ids=[
        *("video cfg", "video stg", "video modality", "video rescale"),
        *("audio cfg", "audio stg", "audio modality", "audio rescale"),
        *("start strength", "start", "end strength", "end", "schedule", "stg block"),
    ],
)
def test_each_feature_moves_the_result(reference: Reference, without: Case) -> None:
    other = ours(reference.components, reference.picture, without)
    moved = difference(other, reference.latents)
    guided = 1 if without.audio != AUDIO else 0
    assert moved[guided] > 1e-2


@pytest.mark.parametrize(
    "case",
    [
        FULL,
        Case(video=Guidance(), audio=Guidance(), start=None, end=None),
        Case(video=Guidance(cfg=3), audio=Guidance(), start=1.0, end=None),
        Case(video=Guidance(), audio=Guidance(cfg=7), start=None, end=1.0),
        Case(video=Guidance(stg=1), audio=Guidance(stg=2), start=None, end=None, stg_block=0),
        Case(video=Guidance(stg=1), audio=Guidance(), start=0.3, end=0.6, stg_block=2),
        Case(video=Guidance(modality=0.5), audio=Guidance(), start=1.0, end=None),
        Case(video=Guidance(cfg=2, rescale=1), audio=Guidance(modality=3, rescale=0.5), start=1.0, end=1.0),
        replace(FULL, sigmas=tuple(schedule.linear_quadratic(STEPS))),
        replace(FULL, sigmas=tuple(schedule.beta(STEPS))),
    ],
    ids=lambda case: f"{case.video} {case.audio} {case.start} {case.end}",
)
def test_equal_to_diffusers(reference: Reference, case: Case) -> None:
    expected = theirs(reference.components, reference.picture, case)
    for mode in ("sequential", "batched"):
        own = ours(reference.components, reference.picture, case, mode=mode)
        assert max(difference(own, expected)) <= 1e-5, mode


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        ("zero", FULL),
        ("threshold", Case(video=Guidance(modality=0), audio=Guidance(), start=1.0, end=None)),
        ("level", FULL),
        # The rescaling's deviations see held tokens too, so that even full strength is affected.
        ("level", replace(FULL, start=1.0, end=1.0)),
        ("position", FULL),
        ("streams", FULL),
    ],
)
def test_each_of_diffusers_faults_is_avoided(reference: Reference, fault: Fault, case: Case) -> None:
    assert fault in FAULTS
    faulty = theirs(reference.components, reference.picture, case, faults=[fault])
    own = ours(reference.components, reference.picture, case)
    assert max(difference(faulty, own)) > 1e-3
    assert max(difference(theirs(reference.components, reference.picture, case), own)) <= 1e-5


def test_without_images_and_fractions_diffusers_needs_no_correction_but_the_zeros(reference: Reference) -> None:
    both = Case(video=VIDEO, audio=replace(AUDIO, stg=6), start=None, end=None)
    stock = theirs(reference.components, reference.picture, both, faults=FAULTS)
    assert max(difference(ours(reference.components, reference.picture, both), stock)) <= 1e-5


def test_diffusers_schedule_counts_the_keyframes_tokens(reference: Reference) -> None:
    """Its shift follows the number of tokens, appended ones included; ours is that of 4096 tokens at every size."""
    stock = theirs(reference.components, reference.picture, FULL, stock_schedule=True)
    appended = GRID.rows * GRID.columns
    for tokens, equal in ((GRID.tokens + appended, True), (GRID.tokens, False), (4096, False)):
        case = replace(FULL, sigmas=tuple(schedule.ltx2(STEPS, tokens)))
        apart = max(difference(ours(reference.components, reference.picture, case), stock))
        assert apart <= 1e-5 if equal else apart > 1e-4


def test_with_the_other_gate_timestep_it_is_another_result(reference: Reference) -> None:
    other = theirs(reference.components, reference.picture, FULL, use_cross_timestep=False)
    assert max(difference(other, reference.latents)) > 1e-2


def test_as_published_ltx_2_does_not_perturb_anything(bundles: Mapping[Family, object]) -> None:
    """Its configuration leaves perturbed attention out: a pass is paid for that changes nothing, unless overridden."""
    generator = torch.Generator().manual_seed(0)
    for overrides, perturbs in (({}, False), ({"perturbed_attn": True}, True)):
        network = LTX2VideoTransformer3DModel.from_pretrained(f"{bundles['ltx-2']}/transformer", **overrides)
        states = {
            "hidden_states": torch.randn(1, GRID.tokens, network.config.in_channels, generator=generator),
            "audio_hidden_states": torch.randn(1, 18, network.config.audio_in_channels, generator=generator),
            "encoder_hidden_states": torch.randn(1, 16, network.config.caption_channels, generator=generator),
            "audio_encoder_hidden_states": torch.randn(1, 16, network.config.caption_channels, generator=generator),
        }
        shape = {"num_frames": GRID.frames, "height": GRID.rows, "width": GRID.columns, "audio_num_frames": 18}
        level = torch.tensor([500.0])
        with torch.no_grad():
            plain, perturbed = (
                network(
                    **states,
                    **shape,
                    timestep=level,
                    sigma=level,
                    fps=24.0,
                    spatio_temporal_guidance_blocks=blocks,
                    return_dict=False,
                )[0]
                for blocks in (None, [2])
            )
        assert torch.equal(plain, perturbed) is not perturbs


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(20, 150),
    columns=st.integers(20, 150),
    width=st.integers(1, 4).map(lambda n: n * 32),
    height=st.integers(1, 4).map(lambda n: n * 32),
)
def test_image_preparation_equals_diffusers(
    loaded: Mapping[Family, Components], rows: int, columns: int, width: int, height: int
) -> None:
    image = np.random.default_rng(rows * 1000 + columns).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    condition = LTX2VideoCondition(frames=Image.fromarray(image), index=0, crf=0)
    expected = pipeline(loaded["ltx-2.3"]).preprocess_conditions(
        [condition], height, width, FRAMES, torch.device("cpu")
    )
    assert torch.equal(conditioning.fit(image, width, height), expected[0][0][0, :, 0])
