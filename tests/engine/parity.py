"""One generation computed twice: by the engine's parts, and by diffusers' pipeline with its known faults put right.

A fault is a place where that pipeline departs from the published formulas; each can be left in by itself, so that a
test can show what it does and that nothing else differs.
"""

from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.ltx2 import LTX2ConditionPipeline, LTX2VideoCondition
from PIL import Image
from torch import Tensor

from stillmotion.engine import conditioning, schedule, text
from stillmotion.engine.components import Components
from stillmotion.engine.denoise import Denoiser, Mode
from stillmotion.engine.grid import Grid
from stillmotion.engine.sampler import State, sample
from stillmotion.job import Guidance

Picture = npt.NDArray[np.uint8]
Latents = tuple[Tensor, Tensor]

WIDTH, HEIGHT, FRAMES, FPS, STEPS, SEED = 96, 64, 17, 24.0, 3, 7
PROMPT, NEGATIVE = "a robot dancing in the rain", "blurry, distorted"
GRID = Grid(frames=3, rows=2, columns=3, audio_frames=round(FRAMES / FPS * 25), fps=FPS)

Fault = Literal["zero", "threshold", "level", "position", "streams"]
"""zero: an audio scale of 0 means the video's scale. threshold: modality guidance only above 1. level: the clean
estimate ignores each token's own noise level. position: the end image lies 8 frames before the end. streams: STG
perturbs both modalities whatever their scales."""
FAULTS: tuple[Fault, ...] = get_args(Fault)

# The usual scales, but for STG's: random weights hardly notice it at 1.
VIDEO = Guidance(cfg=3, stg=6, modality=3, rescale=0.85)
AUDIO = Guidance(cfg=7, stg=0, modality=3, rescale=0.7)


@dataclass(frozen=True, kw_only=True)
class Case:
    """The settings of one generation; strengths of ``None`` mean no such image."""

    video: Guidance = VIDEO
    audio: Guidance = AUDIO
    start: float | None = 0.7
    end: float | None = 0.8
    sigmas: tuple[float, ...] = tuple(schedule.ltx2(STEPS))
    stg_block: int = 1


class Zero(float):
    """A 0 that ``scale or default`` does not replace."""

    def __bool__(self) -> bool:
        return True


class Corrected(LTX2ConditionPipeline):  # type: ignore[misc]
    """diffusers' pipeline, right in all but ``faults``."""

    faults: Collection[Fault] = ()

    def prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super().prepare_latents(*args, **kwargs)
        self._held = prepared[1]
        return prepared

    def convert_velocity_to_x0(
        self, sample: Tensor, denoised_output: Tensor, step_idx: int, scheduler: Any = None
    ) -> Tensor:
        if "level" not in self.faults and sample.shape[2] == self.transformer.config.in_channels:
            denoised_output = denoised_output * (1 - self._held)
        clean: Tensor = super().convert_velocity_to_x0(sample, denoised_output, step_idx, scheduler)
        return clean

    def _prepare_keyframe_coords(self, *, pixel_frame_idx: int, **kwargs: Any) -> Any:
        if "position" not in self.faults:
            pixel_frame_idx = FRAMES - 1
        return super()._prepare_keyframe_coords(pixel_frame_idx=pixel_frame_idx, **kwargs)

    @property
    def do_modality_isolation_guidance(self) -> bool:
        if "threshold" in self.faults:
            return bool(super().do_modality_isolation_guidance)
        return bool(self.modality_scale != 1 or self.audio_modality_scale != 1)


def scheduler(*, stock: bool) -> Any:
    """``stock``: as published with the weights. Else one that takes levels as they are given."""
    if not stock:
        return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=False, shift_terminal=None)
    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )


def pipeline(components: Components, *, stock_schedule: bool = False) -> Any:
    names = ("transformer", "vae", "audio_vae", "vocoder", "connectors", "text_encoder", "tokenizer")
    networks = {name: getattr(components, name) for name in names}
    pipe = Corrected(scheduler=scheduler(stock=stock_schedule), **networks)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def end_picture(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[::-1, ::-1])


def theirs(
    components: Components,
    picture: Picture,
    case: Case,
    *,
    faults: Collection[Fault] = (),
    stock_schedule: bool = False,
    **overrides: Any,
) -> Latents:
    pipe = pipeline(components, stock_schedule=stock_schedule)
    pipe.faults = faults
    images = ((picture, 0, case.start), (end_picture(picture), -1, case.end))
    conditions = [
        LTX2VideoCondition(frames=Image.fromarray(pixels), index=index, strength=strength, crf=0)
        for pixels, index, strength in images
        if strength is not None
    ]
    given: Callable[[float], float] = float if "zero" in faults else Zero
    with ExitStack() as hooks:
        if "streams" not in faults and not case.audio.stg:
            block = components.transformer.transformer_blocks[case.stg_block]
            hooks.callback(block.audio_attn1.register_forward_pre_hook(_unperturbed, with_kwargs=True).remove)
        video, audio = pipe(
            conditions=conditions or None,
            prompt=PROMPT,
            negative_prompt=NEGATIVE,
            width=WIDTH,
            height=HEIGHT,
            num_frames=FRAMES,
            frame_rate=FPS,
            num_inference_steps=STEPS,
            sigmas=None if stock_schedule else list(case.sigmas[:-1]),
            guidance_scale=case.video.cfg,
            stg_scale=case.video.stg,
            modality_scale=case.video.modality,
            guidance_rescale=case.video.rescale,
            audio_guidance_scale=given(case.audio.cfg),
            audio_stg_scale=given(case.audio.stg),
            audio_modality_scale=given(case.audio.modality),
            audio_guidance_rescale=given(case.audio.rescale),
            spatio_temporal_guidance_blocks=[case.stg_block],
            max_sequence_length=256,
            generator=torch.Generator().manual_seed(SEED),
            output_type="latent",
            return_dict=False,
            **overrides,
        )
    return video, audio


def _unperturbed(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    return args, kwargs | {"perturbation_mask": None, "all_perturbed": False}


def embed(components: Components, prompt: str) -> text.Embedding:
    return text.encode(
        prompt,
        tokenizer=components.tokenizer,
        text_encoder=components.text_encoder,
        connectors=components.connectors,
        max_sequence_length=256,
    )


@torch.no_grad()
def ours(components: Components, picture: Picture, case: Case, *, mode: Mode = "sequential") -> Latents:
    transformer, vae, audio_vae = components.transformer, components.vae, components.audio_vae
    config = transformer.config
    held = conditioning.free(GRID.video_coords(transformer, torch.device("cpu")), config.in_channels)
    if case.start is not None:
        image = conditioning.encode(vae, conditioning.fit(picture, WIDTH, HEIGHT))
        held = held.with_start(image, case.start)
    if case.end is not None:
        image = conditioning.encode(vae, conditioning.fit(end_picture(picture), WIDTH, HEIGHT))
        held = held.with_keyframe(image, case.end, FRAMES - 1, FPS)
    # Their one generator draws the video's noise, keyframes included, then the sound's.
    generator = torch.Generator().manual_seed(SEED)
    noise = State(
        torch.randn(held.clean.shape, generator=generator),
        torch.randn(1, GRID.audio_frames, config.audio_in_channels, generator=generator),
    )
    denoiser = Denoiser(
        transformer,
        GRID,
        held,
        embed(components, PROMPT),
        embed(components, NEGATIVE),
        video=case.video,
        audio=case.audio,
        stg_block=case.stg_block,
        mode=mode,
    )
    clean = sample(
        denoiser, lambda step: noise, case.sigmas, held, on_step=lambda step: None, should_stop=lambda: False
    )
    latents = conditioning.unpack(clean.video[:, : GRID.tokens], GRID.frames, GRID.rows, GRID.columns)
    latents = latents * conditioning.channelwise(vae.latents_std, latents)
    latents = latents + conditioning.channelwise(vae.latents_mean, latents)
    sound = clean.audio * audio_vae.latents_std + audio_vae.latents_mean
    return latents, sound.unflatten(2, (-1, 16)).transpose(1, 2)


def difference(left: Latents, right: Latents) -> list[float]:
    """Largest relative difference of each modality."""
    return [float((a - b).abs().max() / b.abs().max()) for a, b in zip(left, right, strict=True)]
