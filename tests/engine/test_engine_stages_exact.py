"""Two stages against the same computed by hand from diffusers' parts, and against diffusers' own way."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplePipeline, LTX2VideoCondition
from parity import NEGATIVE, PROMPT, embed, end_picture, pipeline
from PIL import Image
from torch import Tensor

from stillmotion.engine import conditioning
from stillmotion.engine.components import Components
from stillmotion.engine.denoise import Denoiser
from stillmotion.engine.engine import Engine
from stillmotion.engine.grid import Grid
from stillmotion.engine.manifest import load_manifest
from stillmotion.engine.noise import Noise, gaussian
from stillmotion.engine.sampler import State, sample
from stillmotion.engine.text import Embedding
from stillmotion.engine.upsample import upsample
from stillmotion.job import Family, Guidance, Job, Keyframe, Stage, Upsampling

Picture = npt.NDArray[np.uint8]
CPU = torch.device("cpu")

SEED, FPS = 7, 24.0
FIRST = Stage(
    width=96, height=64, num_frames=9, fps=FPS, steps=8, schedule="distilled", video=Guidance(cfg=3), audio=Guidance()
)
SECOND: dict[Upsampling, Stage] = {
    "spatial_x2": Stage(
        width=192, height=128, num_frames=9, fps=FPS, steps=3, schedule="distilled", start="spatial_x2"
    ),
    "temporal_x2": Stage(
        width=96, height=64, num_frames=17, fps=2 * FPS, steps=3, schedule="distilled", start="temporal_x2"
    ),
}
EIGHT = [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0]
THREE = [0.909375, 0.725, 0.421875, 0.0]


@pytest.fixture(params=SECOND)
def second(request: pytest.FixtureRequest) -> Stage:
    return SECOND[request.param]


def by_hand(components: Components, picture: Picture, second: Stage, start: float, end: float) -> tuple[Tensor, Tensor]:
    """The un-normalised latents of video and sound; ``start`` and ``end``: the images' strengths."""
    delivered, texts = second.num_frames, [embed(components, prompt) for prompt in (PROMPT, NEGATIVE)]
    audio_frames = round(max(9 / FPS, delivered / second.fps) * 25)
    sound = torch.zeros(1, audio_frames, components.transformer.config.audio_in_channels)
    z, first_sound = torch.zeros(1, 8, 2, 2, 3), sound
    for index, (stage, sigmas) in enumerate(((FIRST, EIGHT), (second, THREE))):
        if index:
            z = upsampled(components, z, stage)
        frames, rows, columns = z.shape[2:]
        here, each = frames * rows * columns, rows * columns
        images = [
            conditioning.encode(components.vae, conditioning.fit(pixels, stage.width, stage.height))
            for pixels in (picture, end_picture(picture))
        ]
        clean = torch.cat((images[0], torch.zeros(1, here - each, 8), images[1]), dim=1)
        mask = torch.cat((torch.full((each,), 1 - start), torch.ones(here - each), torch.full((each,), 1 - end)))
        coords = components.transformer.rope.prepare_video_coords(1, frames, rows, columns, CPU, fps=stage.fps)
        last = coords[:, :, :each].clone()
        at = (delivered - 1) * stage.fps / second.fps
        last[:, 0] = torch.tensor([at / stage.fps, (at + 1) / stage.fps])
        coords = torch.cat((coords, last), dim=2)

        prefix = f"stage {index} " if index else ""
        fresh = torch.cat(
            (
                gaussian(SEED, f"{prefix}video", (1, here, 8), CPU),
                gaussian(SEED, f"{prefix}keyframes", (1, each, 8), CPU),
            ),
            dim=1,
        )
        tokens = torch.cat((z.flatten(2).transpose(1, 2), torch.zeros(1, each, 8)), dim=1)
        x = (1 - sigmas[0]) * tokens + sigmas[0] * fresh
        x = mask[:, None] * x + (1 - mask[:, None]) * clean
        a = (1 - sigmas[0]) * sound + sigmas[0] * gaussian(SEED, f"{prefix}audio", tuple(sound.shape), CPU)
        for sigma, following in pairwise(sigmas):
            x0, a0 = estimates(components, texts[: 2 - index], x, a, sigma, mask, coords)
            x0 = mask[:, None] * x0 + (1 - mask[:, None]) * clean
            x, a = x + (following - sigma) * (x - x0) / sigma, a + (following - sigma) * (a - a0) / sigma
        z = x[:, :here].transpose(1, 2).unflatten(2, (frames, rows, columns))
        if not index:
            sound = first_sound = a
    vae, audio_vae = components.vae, components.audio_vae
    z = z * vae.latents_std.view(1, -1, 1, 1, 1) + vae.latents_mean.view(1, -1, 1, 1, 1)
    first_sound = first_sound * audio_vae.latents_std + audio_vae.latents_mean
    return z, first_sound.unflatten(2, (-1, 16)).transpose(1, 2)


def upsampled(components: Components, z: Tensor, stage: Stage) -> Tensor:
    """By diffusers' pipeline, which leaves the result un-normalised."""
    vae = components.vae
    assert stage.start != "noise"
    pipe = LTX2LatentUpsamplePipeline(vae=vae, latent_upsampler=components.upsamplers[stage.start])
    pipe.set_progress_bar_config(disable=True)
    (larger,) = pipe(latents=z, latents_normalized=True, output_type="latent", return_dict=False)
    return (larger - vae.latents_mean.view(1, -1, 1, 1, 1)) / vae.latents_std.view(1, -1, 1, 1, 1)


def estimates(
    components: Components, texts: list[Embedding], x: Tensor, a: Tensor, sigma: float, mask: Tensor, coords: Tensor
) -> tuple[Tensor, Tensor]:
    """Clean estimates with the noise level of each token; the video's guided by 3 where there are two texts."""
    level = torch.tensor([1000 * sigma])
    results = []
    for text in texts:
        video, audio = components.transformer(
            hidden_states=x,
            audio_hidden_states=a,
            encoder_hidden_states=text.video,
            audio_encoder_hidden_states=text.audio,
            timestep=level[:, None] * mask,
            audio_timestep=level,
            sigma=level,
            video_coords=coords,
            audio_num_frames=a.shape[1],
            use_cross_timestep=True,
            return_dict=False,
        )
        results.append((x - mask[:, None] * sigma * video, a - sigma * audio))
    (positive, sound), (other, _) = results[0], results[-1]
    return positive + 2 * (positive - other), sound


@contextmanager
def decoder_inputs(components: Components) -> Iterator[dict[str, Tensor]]:
    """What the decoders are given, by name."""
    seen: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        return lambda module, inputs: seen.__setitem__(name, inputs[0].clone())

    hooks = [
        components.vae.decoder.register_forward_pre_hook(record("video")),
        components.audio_vae.decoder.register_forward_pre_hook(record("audio")),
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0), (0.7, 0.4)])
def test_two_stages_are_what_their_parts_make(
    components: Components,
    bundles: Mapping[Family, Path],
    family: Family,
    picture: Picture,
    second: Stage,
    start: float,
    end: float,
) -> None:
    job = Job(
        model="tiny",
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        width=second.width,
        height=second.height,
        num_frames=second.num_frames,
        fps=second.fps,
        seed=SEED,
        audio=True,
        keyframes=(
            Keyframe(image="image_url", frame=0, strength=start),
            Keyframe(image="end_image_url", frame=second.num_frames - 1, strength=end),
        ),
        stages=(FIRST, second),
    )
    images = {"image_url": picture, "end_image_url": end_picture(picture)}
    engine = Engine(bundles[family], load_manifest(bundles[family]), components)
    with decoder_inputs(components) as decoded:
        generation = engine.generate(job, images, on_progress=lambda progress: None, should_stop=lambda: False)
        for _ in generation.frames:
            pass
    video, sound = by_hand(components, picture, second, start, end)
    for name, expected in (("video", video), ("audio", sound)):
        assert decoded[name].shape == expected.shape
        assert float((decoded[name] - expected).abs().max() / expected.abs().max()) < 1e-5, name
    if start == 1:  # the image itself, at the size of the last stage
        image = conditioning.encode(components.vae, conditioning.fit(picture, second.width, second.height))
        vae, latents = components.vae, decoded["video"]
        mean, deviation = vae.latents_mean.view(1, -1, 1, 1, 1), vae.latents_std.view(1, -1, 1, 1, 1)
        first = ((latents - mean) / deviation)[:, :, 0].flatten(2).transpose(1, 2)
        torch.testing.assert_close(first, image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_an_upsampler_doubles_space_or_time(components: Components, frames: int) -> None:
    z = gaussian(1, "z", (1, 8, frames, 2, 3), CPU)
    for kind, shape in (("spatial_x2", (1, 8, frames, 4, 6)), ("temporal_x2", (1, 8, 2 * frames - 1, 2, 3))):
        stage = SECOND[kind]  # type: ignore[index]
        larger = upsample(components.upsamplers[stage.start], components.vae, z)  # type: ignore[index]
        assert larger.shape == shape
        torch.testing.assert_close(larger, upsampled(components, z, stage), atol=1e-6, rtol=0)


def refined_by_diffusers(
    components: Components, picture: Picture, z: Tensor, sound: Tensor, strength: float
) -> tuple[Tensor, Tensor]:
    vae, audio_vae = components.vae, components.audio_vae
    pipe = pipeline(components)
    video, audio = pipe(
        conditions=[LTX2VideoCondition(frames=Image.fromarray(picture), index=0, strength=strength, crf=0)],
        prompt=PROMPT,
        width=192,
        height=128,
        num_frames=9,
        frame_rate=FPS,
        num_inference_steps=3,
        sigmas=THREE[:-1],
        latents=z * vae.latents_std.view(1, -1, 1, 1, 1) + vae.latents_mean.view(1, -1, 1, 1, 1),
        audio_latents=(sound * audio_vae.latents_std + audio_vae.latents_mean).unflatten(2, (-1, 16)).transpose(1, 2),
        guidance_scale=1.0,
        stg_scale=0.0,
        modality_scale=1.0,
        audio_guidance_scale=1.0,
        audio_stg_scale=0.0,
        audio_modality_scale=1.0,
        max_sequence_length=256,
        generator=torch.Generator().manual_seed(SEED),
        output_type="latent",
        return_dict=False,
    )
    return video, audio


@torch.no_grad()
def refined_by_us(
    components: Components, picture: Picture, z: Tensor, sound: Tensor, strength: float
) -> tuple[Tensor, Tensor]:
    vae, audio_vae, transformer = components.vae, components.audio_vae, components.transformer
    grid = Grid(frames=2, rows=4, columns=6, audio_frames=sound.shape[1], fps=FPS)
    held = conditioning.free(grid.video_coords(transformer, CPU), 8)
    held = held.with_start(conditioning.encode(vae, conditioning.fit(picture, 192, 128)), strength)
    generator = torch.Generator().manual_seed(SEED)  # theirs draws the video's noise, then the sound's
    noise = State(torch.randn(1, grid.tokens, 8, generator=generator), torch.randn(sound.shape, generator=generator))
    plain = Guidance()
    clean = sample(
        Denoiser(transformer, grid, held, embed(components, PROMPT), None, video=plain, audio=plain, stg_block=1),
        lambda step: noise,
        THREE,
        held,
        start=State(conditioning.pack(z), sound),
        on_step=lambda step: None,
        should_stop=lambda: False,
    )
    video = conditioning.unpack(clean.video, 2, 4, 6) * vae.latents_std.view(1, -1, 1, 1, 1)
    audio = clean.audio * audio_vae.latents_std + audio_vae.latents_mean
    return video + vae.latents_mean.view(1, -1, 1, 1, 1), audio.unflatten(2, (-1, 16)).transpose(1, 2)


def test_a_refinement_is_diffusers_own_where_the_image_is_whole(components: Components, picture: Picture) -> None:
    """At strength 1. Below, theirs noises image and upsampled latents as one; ours the latents alone, as published."""
    z, sound = gaussian(1, "z", (1, 8, 2, 4, 6), CPU), gaussian(1, "sound", (1, 9, 32), CPU)
    for strength in (1.0, 0.5):
        theirs = refined_by_diffusers(components, picture, z, sound, strength)
        ours = refined_by_us(components, picture, z, sound, strength)
        worst = max(
            float((own - other).abs().max() / other.abs().max()) for own, other in zip(ours, theirs, strict=True)
        )
        if strength == 1:
            assert worst < 1e-5
        else:
            assert worst > 1e-3


def test_each_stage_has_noise_of_its_own() -> None:
    """No stream of a later stage is one of the first's, or of another's, even at the same size."""

    def noise(stage: int) -> Noise:
        return Noise(seed=1, video=(1, 40, 8), audio=(1, 40, 8), keyframes=40, device=CPU, stage=stage)

    drawn = [
        tensor.flatten()
        for stage in range(3)
        for step in range(2)
        for tensor in (*noise(stage)(step).video.split(40, dim=1), noise(stage)(step).audio)
    ]
    assert len(drawn) == 18
    for one, other in combinations(drawn, 2):
        assert abs(float(torch.corrcoef(torch.stack((one, other)))[0, 1])) < 0.25
    # The first stage's streams have the names they had before there was another: seeds keep their meaning.
    assert torch.equal(noise(0)(0).video[:, :40], gaussian(1, "video", (1, 40, 8), CPU))
    assert torch.equal(noise(0)(1).audio, gaussian(1, "step 1 audio", (1, 40, 8), CPU))
