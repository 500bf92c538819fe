"""The sampler against diffusers' own pipeline, on the same weights, noise and schedule.

Every feature is first shown to matter: a comparison that does not move when the feature is left out proves nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.ltx2 import LTX2ConditionPipeline, LTX2VideoCondition
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from stillmotion.engine import conditioning, schedule, text
from stillmotion.engine.components import Components
from stillmotion.engine.denoise import Denoiser, Grid, Mode
from stillmotion.engine.sampler import State, sample
from stillmotion.job import Family, Guidance

WIDTH, HEIGHT, FRAMES, FPS, STEPS, SEED = 96, 64, 17, 24.0, 3, 7
PROMPT, NEGATIVE = "a robot dancing in the rain", "blurry, distorted"
GRID = Grid(frames=3, rows=2, columns=3, audio_frames=round(FRAMES / FPS * 25), fps=FPS)
VIDEO, AUDIO = Guidance(cfg=3), Guidance(cfg=7)

Latents = tuple[Tensor, Tensor]


def pipeline(components: Components) -> Any:
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )
    names = ("transformer", "vae", "audio_vae", "vocoder", "connectors", "text_encoder", "tokenizer")
    pipe = LTX2ConditionPipeline(scheduler=scheduler, **{name: getattr(components, name) for name in names})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def theirs(components: Components, picture: npt.NDArray[np.uint8], **overrides: Any) -> Latents:
    video, audio = pipeline(components)(
        conditions=[LTX2VideoCondition(frames=Image.fromarray(picture), index=0, strength=1.0, crf=0)],
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        width=WIDTH,
        height=HEIGHT,
        num_frames=FRAMES,
        frame_rate=FPS,
        num_inference_steps=STEPS,
        # Every scale is given: the defaults are those of another model, and an audio scale of 0 means the video's.
        guidance_scale=VIDEO.cfg,
        audio_guidance_scale=AUDIO.cfg,
        stg_scale=0.0,
        audio_stg_scale=0.0,
        modality_scale=1.0,
        audio_modality_scale=1.0,
        guidance_rescale=0.0,
        audio_guidance_rescale=0.0,
        max_sequence_length=256,
        generator=torch.Generator().manual_seed(SEED),
        output_type="latent",
        return_dict=False,
        **overrides,
    )
    return video, audio


@torch.no_grad()
def ours(
    components: Components,
    picture: npt.NDArray[np.uint8] | None,
    *,
    video: Guidance = VIDEO,
    audio: Guidance = AUDIO,
    sigmas: Sequence[float] | None = None,
    mode: Mode = "sequential",
) -> Latents:
    def embed(prompt: str) -> text.Embedding:
        return text.encode(
            prompt,
            tokenizer=components.tokenizer,
            text_encoder=components.text_encoder,
            connectors=components.connectors,
            max_sequence_length=256,
        )

    config, vae, audio_vae = components.transformer.config, components.vae, components.audio_vae
    if picture is None:
        held = conditioning.free(GRID.tokens, config.in_channels, torch.device("cpu"))
    else:
        image = conditioning.encode(vae, conditioning.fit(picture, WIDTH, HEIGHT))
        held = conditioning.start_image(image, 1.0, GRID.tokens)
    # Their one generator draws the video's noise, then the sound's.
    generator = torch.Generator().manual_seed(SEED)
    noise = State(
        torch.randn(1, GRID.tokens, config.in_channels, generator=generator),
        torch.randn(1, GRID.audio_frames, config.audio_in_channels, generator=generator),
    )
    denoiser = Denoiser(
        components.transformer, GRID, held.mask, embed(PROMPT), embed(NEGATIVE), video=video, audio=audio, mode=mode
    )
    sigmas = sigmas or schedule.ltx2(STEPS, tokens=GRID.tokens)
    clean = sample(denoiser, noise, sigmas, held, on_step=lambda step: None, should_stop=lambda: False)
    latents = conditioning.unpack(clean.video, GRID.frames, GRID.rows, GRID.columns)
    latents = latents * conditioning.channelwise(vae.latents_std, latents)
    latents = latents + conditioning.channelwise(vae.latents_mean, latents)
    sound = clean.audio * audio_vae.latents_std + audio_vae.latents_mean
    return latents, sound.unflatten(2, (-1, 16)).transpose(1, 2)


def difference(left: Latents, right: Latents) -> list[float]:
    """Largest relative difference of each modality."""
    return [float((a - b).abs().max() / b.abs().max()) for a, b in zip(left, right, strict=True)]


@dataclass(frozen=True)
class Reference:
    components: Components
    latents: Latents


@pytest.fixture(scope="module")
def references(loaded: Mapping[Family, Components], picture: npt.NDArray[np.uint8]) -> Mapping[Family, Reference]:
    return {family: Reference(components, theirs(components, picture)) for family, components in loaded.items()}


@pytest.fixture
def reference(references: Mapping[Family, Reference], family: Family) -> Reference:
    return references[family]


def test_without_guidance_it_is_another_result(reference: Reference, picture: npt.NDArray[np.uint8]) -> None:
    without_video = ours(reference.components, picture, video=Guidance(cfg=1))
    without_audio = ours(reference.components, picture, audio=Guidance(cfg=1))
    assert difference(without_video, reference.latents)[0] > 1e-2
    assert difference(without_audio, reference.latents)[1] > 1e-2


def test_without_the_image_it_is_another_result(reference: Reference) -> None:
    assert min(difference(ours(reference.components, None), reference.latents)) > 1e-2


def test_with_another_schedule_it_is_another_result(reference: Reference, picture: npt.NDArray[np.uint8]) -> None:
    other = ours(reference.components, picture, sigmas=schedule.ltx2(STEPS, tokens=4096))
    assert min(difference(other, reference.latents)) > 1e-2


def test_with_the_other_gate_timestep_it_is_another_result(
    reference: Reference, picture: npt.NDArray[np.uint8]
) -> None:
    other = theirs(reference.components, picture, use_cross_timestep=False)
    assert max(difference(other, reference.latents)) > 1e-2


@pytest.mark.parametrize("mode", ["sequential", "batched"])
def test_equal_to_diffusers(reference: Reference, picture: npt.NDArray[np.uint8], mode: Mode) -> None:
    assert max(difference(ours(reference.components, picture, mode=mode), reference.latents)) <= 1e-5


def test_batched_and_sequential_passes_agree(components: Components, picture: npt.NDArray[np.uint8]) -> None:
    sequential = ours(components, picture, mode="sequential")
    batched = ours(components, picture, mode="batched")
    assert max(difference(batched, sequential)) <= 1e-5


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
    expected = pipeline(loaded["ltx-2.3"]).preprocess_conditions([condition], height, width, 9, torch.device("cpu"))
    assert torch.equal(conditioning.fit(image, width, height), expected[0][0][0, :, 0])
