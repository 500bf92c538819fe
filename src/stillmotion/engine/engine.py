"""The engine: a Job in, frames and sound out."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stillmotion.engine import conditioning, decode, delivery, schedule, text
from stillmotion.engine.color import to_yuv420
from stillmotion.engine.components import Components, choose_device, choose_dtype, load_components
from stillmotion.engine.conditioning import Conditioning
from stillmotion.engine.denoise import Denoiser, Mode
from stillmotion.engine.grid import Grid
from stillmotion.engine.guidance import needed
from stillmotion.engine.manifest import Manifest, load_manifest
from stillmotion.engine.memory import memory_told
from stillmotion.engine.noise import Noise
from stillmotion.engine.sampler import RESTART_ETA, sample
from stillmotion.errors import EngineError
from stillmotion.job import Job, Progress, Stage

Images = Mapping[str, npt.NDArray[np.uint8]]
"""Request field name to an upright RGB picture (rows, columns, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A video that has been denoised and is decoded while ``frames`` is read."""

    frames: Iterator[npt.NDArray[np.uint8]]
    """Chunks (frames, height * 3 / 2, width) of planar YUV 4:2:0, BT.709, limited range; ``Job.num_frames`` in all.

    Reading it may raise OutOfMemory.
    """
    audio: npt.NDArray[np.float32] | None
    """(channels, samples) of exactly the video's length; ``None`` where the job wants none."""
    sample_rate: int
    seconds: dict[str, float]
    """Wall seconds by part: text, image, denoise, decode. The last grows while ``frames`` is read."""


class Engine:
    """One bundle's networks on one device. Not to be shared between threads."""

    def __init__(self, manifest: Manifest, components: Components) -> None:
        self.manifest = manifest
        self._components = components

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto", dtype: str = "auto") -> Self:
        """Loads the bundle in ``folder``; raises BundleError or OutOfMemory.

        ``device``: auto, or torch's name of one; ``dtype``: auto, float32 or bfloat16 (see components.py).
        """
        manifest = load_manifest(folder)
        chosen = choose_device(device)
        with memory_told(f"the weights of {manifest.name}", chosen):
            return cls(manifest, load_components(folder, manifest, chosen, choose_dtype(dtype, chosen)))

    def generate(
        self,
        job: Job,
        images: Images,
        *,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        mode: Mode = "auto",
    ) -> Generation:
        """Computes ``job``; ``images`` holds each keyframe's picture, already re-compressed as the manifest asks.

        The same job gives the same bytes on the same machine, whatever ran before: all randomness comes from
        ``job.seed``. ``on_progress`` is called after every denoising step. Raises ``sampler.Stopped`` when
        ``should_stop()`` is true between two steps, OutOfMemory, or EngineError for a job that this engine cannot do.
        """
        stage = self._only_stage(job)
        sigmas = _sigmas(stage)
        _check_keyframes(job)
        seconds: dict[str, float] = {}
        parts = _Parts(seconds, _describe(stage), self._components.device)
        with parts.measured("text"):
            positive = self._embed(job.prompt)
            negative = self._embed(job.negative_prompt) if "negative" in needed(stage.video, stage.audio) else None
        grid = self._grid(job, stage)

        def on_step(step: int) -> None:
            parts.settle()
            on_progress(Progress(stage=0, stages=1, step=step, total=stage.steps))

        with parts.measured("image"):
            held = self._conditioning(job, images, stage, grid)
        with parts.measured("denoise"):
            denoiser = Denoiser(
                self._components.transformer,
                grid,
                held,
                positive,
                negative,
                video=stage.video,
                audio=stage.audio,
                stg_block=self.manifest.stg_block,
                mode=mode,
            )
            latents = sample(
                denoiser,
                self._noise(job.seed, grid, held),
                sigmas,
                held,
                gamma=stage.gradient_gamma,
                eta=RESTART_ETA if stage.restart else 0.0,
                on_step=on_step,
                should_stop=should_stop,
            )
        audio = None
        if job.audio:
            with parts.measured("decode"):
                audio = self._decode_audio(latents.audio, job.num_frames / job.fps)
        return Generation(
            frames=parts.measured_each("decode", self._decode_video(latents.video, grid, job)),
            audio=audio,
            sample_rate=self._components.vocoder.config.output_sampling_rate,
            seconds=seconds,
        )

    def _only_stage(self, job: Job) -> Stage:
        if len(job.stages) != 1:
            raise EngineError(f"this engine computes one stage, not {len(job.stages)}")
        if job.width % 2 or job.height % 2:
            raise EngineError(f"a video has an even size, not {job.width}x{job.height}")
        stage, model = job.stages[0], self.manifest.model()
        if stage.width % model.spatial_multiple or stage.height % model.spatial_multiple:
            raise EngineError(f"{stage.width}x{stage.height} is not on the grid of {model.spatial_multiple} pixels")
        if stage.num_frames % model.temporal_multiple != 1:
            raise EngineError(
                f"{stage.num_frames} frames are not one more than a multiple of {model.temporal_multiple}"
            )
        return stage

    def _grid(self, job: Job, stage: Stage) -> Grid:
        vae, audio_vae = self._components.vae, self._components.audio_vae
        seconds = max(stage.num_frames / stage.fps, job.num_frames / job.fps)
        rate = audio_vae.config.sample_rate / audio_vae.config.mel_hop_length / audio_vae.temporal_compression_ratio
        return Grid(
            frames=(stage.num_frames - 1) // vae.temporal_compression_ratio + 1,
            rows=stage.height // vae.spatial_compression_ratio,
            columns=stage.width // vae.spatial_compression_ratio,
            audio_frames=round(seconds * rate),
            fps=stage.fps,
        )

    def _embed(self, prompt: str) -> text.Embedding:
        return text.encode(
            prompt,
            tokenizer=self._components.tokenizer,
            text_encoder=self._components.text_encoder,
            connectors=self._components.connectors,
            max_sequence_length=self.manifest.max_sequence_length,
        )

    def _conditioning(self, job: Job, images: Images, stage: Stage, grid: Grid) -> Conditioning:
        transformer, device = self._components.transformer, self._components.device
        held = conditioning.free(grid.video_coords(transformer, device), transformer.config.in_channels)
        at = delivery.positions(job.num_frames, job.fps, stage.num_frames, stage.fps)
        for keyframe in job.keyframes:
            if keyframe.strength == 0:  # not even its tokens: the others would see them
                continue
            pixels = conditioning.fit(images[keyframe.image], stage.width, stage.height)
            image = conditioning.encode(self._components.vae, pixels)
            if keyframe.frame == 0:
                held = held.with_start(image, keyframe.strength)
            else:
                held = held.with_keyframe(image, keyframe.strength, at[keyframe.frame], stage.fps)
        return held

    def _noise(self, seed: int, grid: Grid, held: Conditioning) -> Noise:
        config = self._components.transformer.config
        return Noise(
            seed=seed,
            video=(1, grid.tokens, config.in_channels),
            audio=(1, grid.audio_frames, config.audio_in_channels),
            keyframes=held.mask.shape[1] - grid.tokens,
            device=self._components.device,
        )

    def _decode_video(self, tokens: Tensor, grid: Grid, job: Job) -> Iterator[npt.NDArray[np.uint8]]:
        latents = conditioning.unpack(tokens[:, : grid.tokens], grid.frames, grid.rows, grid.columns)
        computed = (grid.frames - 1) * self._components.vae.temporal_compression_ratio + 1
        chunks = decode.decode_video(self._components.vae, latents)
        for frames in delivery.retime(chunks, delivery.positions(job.num_frames, job.fps, computed, grid.fps)):
            yield to_yuv420(delivery.to_canvas(frames, job.width, job.height)).cpu().numpy()

    def _decode_audio(self, tokens: Tensor, seconds: float) -> npt.NDArray[np.float32]:
        return decode.decode_audio(self._components.audio_vae, self._components.vocoder, tokens, seconds=seconds)


def _sigmas(stage: Stage) -> list[float]:
    try:
        sigmas = schedule.levels(stage.schedule, stage.steps)
    except ValueError as error:
        raise EngineError(str(error)) from error
    if sigmas[0] != 1:
        raise EngineError(
            f"{stage.steps} steps of the {stage.schedule} schedule refine a video; they cannot begin one from noise"
        )
    return sigmas


def _check_keyframes(job: Job) -> None:
    frames = [keyframe.frame for keyframe in job.keyframes]
    if len(set(frames)) < len(frames):
        raise EngineError("a frame shows one image, not two")
    for keyframe in job.keyframes:
        if not 0 <= keyframe.frame < job.num_frames:
            raise EngineError(f"there is no frame {keyframe.frame} in a video of {job.num_frames}")
        if not 0 <= keyframe.strength <= 1:
            raise EngineError(f"an image's strength is from 0 to 1, not {keyframe.strength}")


def _describe(stage: Stage) -> str:
    return f"{stage.width}x{stage.height} and {stage.num_frames} frames"


class _Parts:
    """What every part of the work has in common: its time, its memory, and no gradients."""

    def __init__(self, seconds: dict[str, float], what: str, device: torch.device) -> None:
        self._seconds, self._what, self._device = seconds, what, device

    @contextmanager
    def measured(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        with torch.inference_mode(), memory_told(self._what, self._device):
            yield
            self.settle()
        self._seconds[part] = self._seconds.get(part, 0.0) + time.perf_counter() - began

    def settle(self) -> None:
        """Waits until the device has done what it was given, so that times and progress are true."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def measured_each(self, part: str, items: Iterator[npt.NDArray[np.uint8]]) -> Iterator[npt.NDArray[np.uint8]]:
        while True:
            with self.measured(part):  # not held while the reader works
                item = next(items, None)
            if item is None:
                return
            yield item
