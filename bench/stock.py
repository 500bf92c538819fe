"""The peer: diffusers' own pipelines on the same networks, with the settings under which they do the same work.

``LTX2ConditionPipeline`` for each stage and ``LTX2LatentUpsamplePipeline`` between two, as diffusers' two-stage example
has it, and to the peer's advantage where there is a choice: texts are encoded once for all stages and nothing spends
time on LoRAs. Every guidance parameter is given: by its defaults the pipeline would run four passes a step where a
stage wants one. The VAE is in the layout that ``from_pretrained`` leaves it in.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.ltx2 import LTX2ConditionPipeline, LTX2LatentUpsamplePipeline, LTX2VideoCondition
from PIL import Image

from stillmotion.engine import schedule
from stillmotion.engine.components import Components
from stillmotion.engine.manifest import Manifest
from stillmotion.engine.sampler import Stopped
from stillmotion.engine.stages import Images
from stillmotion.job import Job, Stage

_NAMES = ("transformer", "vae", "audio_vae", "vocoder", "connectors", "text_encoder", "tokenizer")


class Stock:
    def __init__(self, components: Components, manifest: Manifest) -> None:
        components = replace(components, vae=_own_vae(components.vae))
        self._components, self._manifest = components, manifest
        networks = {name: getattr(components, name) for name in _NAMES}
        # A scheduler that takes noise levels as they are given, so that both sides step along the same ones.
        scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=False, shift_terminal=None)
        self._pipeline = LTX2ConditionPipeline(scheduler=scheduler, **networks)
        self._pipeline.set_progress_bar_config(disable=True)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Wall seconds by part of the latest run; the names are those of the engine."""
        self.passes = 0
        """Samples that the transformer computed in the latest run that came to its end."""

    def generate(self, job: Job, images: Images, *, should_stop: Callable[[], bool]) -> Any:
        """Frames as the pipeline gives them to numpy: (1, frames, height, width, 3) of fp32. Raises ``Stopped``."""
        self.seconds = defaultdict(float)
        with torch.inference_mode(), self._counted():
            texts = self._texts(job)
            video, audio = self._stage(job, 0, images, texts, {}, should_stop)
            for index, stage in enumerate(job.stages[1:], start=1):
                with self._timed("upsample"):
                    video = self._enlarged(stage, video)
                start = {"latents": video, "audio_latents": audio}
                video, audio = self._stage(job, index, images, texts, start, should_stop)
            return self._decoded(video, audio)

    def _texts(self, job: Job) -> dict[str, Any]:
        names = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
        with self._timed("text"):
            encoded = self._pipeline.encode_prompt(
                job.prompt,
                job.negative_prompt,
                do_classifier_free_guidance=any(_is_guided_by_text(stage) for stage in job.stages),
                max_sequence_length=self._manifest.max_sequence_length,
                device=self._components.device,
            )
        return dict(zip(names, encoded, strict=True))

    def _stage(
        self,
        job: Job,
        index: int,
        images: Images,
        texts: dict[str, Any],
        start: dict[str, Any],
        should_stop: Callable[[], bool],
    ) -> Any:
        """Video and audio latents on the VAEs' own scales."""
        stage, marks = job.stages[index], list[float]()
        if not _is_guided_by_text(stage):
            texts = {name: value for name, value in texts.items() if not name.startswith("negative")}

        def step_ended(pipeline: Any, step: int, level: Any, given: dict[str, Any]) -> dict[str, Any]:
            marks.append(self._now())
            if should_stop():
                raise Stopped
            return {}

        begins = self._components.transformer.register_forward_pre_hook(
            lambda module, given: None if marks else marks.append(self._now())
        )
        try:
            latents = self._pipeline(
                conditions=_conditions(job, images),
                **texts,
                **start,
                **_guidance(stage),
                width=stage.width,
                height=stage.height,
                num_frames=stage.num_frames,
                frame_rate=stage.fps,
                num_inference_steps=stage.steps,
                sigmas=schedule.levels(stage.schedule, stage.steps)[:-1],
                spatio_temporal_guidance_blocks=[self._manifest.stg_block],
                max_sequence_length=self._manifest.max_sequence_length,
                generator=torch.Generator(self._components.device).manual_seed(job.seed),
                callback_on_step_end=step_ended,
                output_type="latent",
                return_dict=False,
            )
        finally:
            begins.remove()
        denoised = marks[-1] - marks[0]
        self.seconds["denoise"] += denoised
        if len(job.stages) > 1:
            self.seconds[f"stage {index + 1}"] = denoised
        return latents

    def _enlarged(self, stage: Stage, latents: Any) -> Any:
        assert stage.start != "noise"
        upsampler = self._components.upsamplers[stage.start]
        pipeline = LTX2LatentUpsamplePipeline(vae=self._components.vae, latent_upsampler=upsampler)
        return pipeline(
            latents=latents,
            width=stage.width,
            height=stage.height,
            num_frames=stage.num_frames,
            output_type="latent",
            return_dict=False,
        )[0]

    def _decoded(self, video: Any, audio: Any) -> Any:
        """As the pipeline ends for ``output_type="np"``."""
        vae, audio_vae = self._components.vae, self._components.audio_vae
        with self._timed("decode"):
            decoded = vae.decode(video.to(vae.dtype), None, return_dict=False)[0]
            frames = self._pipeline.video_processor.postprocess_video(decoded, output_type="np")
            spectrum = audio_vae.decode(audio.to(audio_vae.dtype), return_dict=False)[0]
            self._components.vocoder(spectrum).float().cpu()
        return frames

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = self._now()
        yield
        self.seconds[name] += self._now() - began

    def _now(self) -> float:
        """When the device has done what it was given."""
        if self._components.device.type == "cuda":
            torch.cuda.synchronize(self._components.device)
        return time.perf_counter()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        samples: list[int] = []

        def count(module: Any, given: Any, named: dict[str, Any]) -> None:
            samples.append(len(named["hidden_states"]))

        hook = self._components.transformer.register_forward_pre_hook(count, with_kwargs=True)
        try:
            yield
            self.passes = sum(samples)
        finally:
            hook.remove()


def _own_vae(vae: Any) -> Any:
    """diffusers' own network with the weights of ``vae``: the engine's pads its convolutions in another way."""
    own = type(vae).from_config(vae.config).to(vae.device, vae.dtype).eval().requires_grad_(False)
    own.load_state_dict(vae.state_dict())
    return own


def _is_guided_by_text(stage: Stage) -> bool:
    return stage.video.cfg > 1 or stage.audio.cfg > 1


def _guidance(stage: Stage) -> dict[str, float]:
    """An audio scale of 0 would mean the video's scale; the passes are the same."""
    return {
        "guidance_scale": stage.video.cfg,
        "stg_scale": stage.video.stg,
        "modality_scale": stage.video.modality,
        "guidance_rescale": stage.video.rescale,
        "audio_guidance_scale": stage.audio.cfg,
        "audio_stg_scale": stage.audio.stg,
        "audio_modality_scale": stage.audio.modality,
        "audio_guidance_rescale": stage.audio.rescale,
    }


def _conditions(job: Job, images: Images) -> list[Any]:
    return [
        LTX2VideoCondition(
            frames=Image.fromarray(images[keyframe.image]),
            index=0 if keyframe.frame == 0 else -1,
            strength=keyframe.strength,
            crf=0,  # the pictures come re-compressed
        )
        for keyframe in job.keyframes
    ]
