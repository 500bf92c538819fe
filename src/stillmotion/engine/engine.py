"""The engine: a Job in, frames and sound out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stillmotion.engine import decode, delivery
from stillmotion.engine.acceleration import regular_at_most
from stillmotion.engine.attention import Attention, use_attention
from stillmotion.engine.author import make_author
from stillmotion.engine.budget import Budget, MemoryOptions, make_budget, stage_text, unlimited_budget
from stillmotion.engine.causal_convolution import keep_channels_last
from stillmotion.engine.checks import Selection, check_job, loras_blamed, place, select_loras
from stillmotion.engine.color import to_yuv420
from stillmotion.engine.compilation import compile_blocks
from stillmotion.engine.components import Components, choose_device, choose_dtype, load_components
from stillmotion.engine.conditioning import Conditioning
from stillmotion.engine.denoise import Denoiser, Mode
from stillmotion.engine.float8 import cast_to_float8
from stillmotion.engine.guidance import needed
from stillmotion.engine.manifest import Manifest, load_manifest
from stillmotion.engine.memory import memory_told
from stillmotion.engine.memory_plan import Plan, StageChoice
from stillmotion.engine.occupancy import Occupancy, networks_of
from stillmotion.engine.parallel.context import split_context
from stillmotion.engine.parallel.group import Group, Parallel
from stillmotion.engine.parts import Parts
from stillmotion.engine.preview import Offer, offering
from stillmotion.engine.sampler import Denoise
from stillmotion.engine.stages import Images, Latents, StageRun
from stillmotion.engine.text import Embedding, TextEmbedder
from stillmotion.engine.tiled_denoise import TiledDenoiser
from stillmotion.engine.tiling import Limits
from stillmotion.errors import EngineError, OutOfMemory
from stillmotion.job import Job, Progress, Stage

Weights = Literal["auto", "float8"]
"""``auto``: in the format that is computed in. ``float8``: the transformer's in 8 bits."""

NO_FILES: Mapping[str, Path] = MappingProxyType({})


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
    """Wall seconds by part: loras, text, image, denoise, decode. Of several stages also upsample, and each one's share
    of denoise as ``stage 1`` and so on. decode grows while ``frames`` is read."""


@dataclass(frozen=True, slots=True)
class _Task:
    """One call of ``generate``."""

    job: Job
    images: Images
    on_progress: Callable[[Progress], None]
    should_stop: Callable[[], bool]
    on_log: Callable[[str], None]
    offer_preview: Offer | None
    mode: Mode
    plan: Plan
    seconds: dict[str, float]

    def report(self, parts: Parts, index: int, step: int) -> None:
        parts.settle()
        stages = self.job.stages
        self.on_progress(Progress(stage=index, stages=len(stages), step=step, total=stages[index].steps))

    def names(self, index: int) -> tuple[str, ...]:
        """What a stage's own time is told as: nothing where there is one stage."""
        return (f"stage {index + 1}",) if len(self.job.stages) > 1 else ()


class Engine:
    """One bundle's networks on one device. Not to be shared between threads."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        components: Components,
        *,
        limits: Limits | None = None,
        group: Group | None = None,
        parallel: Parallel = "guidance",
        budget: Budget | None = None,
        on_device: bool = True,
    ) -> None:
        """``folder``: the bundle's, for its LoRAs and the processor of its text model. See ``load`` for the rest.

        ``budget``: what of the machine's memory may be used; ``None``: any, and the networks stay where they are.
        ``on_device``: whether the networks are on ``components.device`` or still on the host.
        """
        self.manifest = manifest
        self._folder = folder
        self._components = components
        self._group, self._split = group, group is not None and parallel == "context"
        if group is not None and self._split:
            split_context(components.transformer, group)
        if budget is None:
            dtype, networks = components.transformer.dtype, networks_of(components)
            budget = unlimited_budget(manifest, networks, dtype, limits or Limits())
        start = budget.plan_start(manifest)
        self._occupancy = Occupancy(components, budget, start, native=on_device, group=group)
        self._adapters = self._occupancy.adapters
        self._embedder = TextEmbedder(
            tokenizer=components.tokenizer,
            text_encoder=components.text_encoder,
            connectors=components.connectors,
            max_sequence_length=manifest.max_sequence_length,
            device=components.device,
        )
        self.chat = make_author(folder, manifest, components, lambda: self._occupancy.bring(start, "text"))
        """The text model as an author; None where it came without the head for it."""

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        limits: Limits | None = None,
        on_progress: Callable[[str], None] | None = None,
        group: Group | None = None,
        parallel: Parallel = "guidance",
        memory: MemoryOptions | None = None,
        weights: Weights = "auto",
        attention: Attention = "auto",
        compiled: bool = False,
    ) -> Self:
        """Loads the bundle in ``folder``; raises BundleError, OutOfMemory, or EngineError for options without effect.

        ``device``: auto, or torch's name of one; ``dtype``: auto, float32 or bfloat16 (see components.py); ``limits``:
        from which size on a canvas is computed in tiles; ``on_progress`` is told the plan of memory before anything is
        loaded, and each part as its loading begins. ``group``: processes that load the same and generate the same, in
        lockstep; ``parallel`` is what they share out, the passes of guidance or the tokens (context). ``memory``: what
        may be used of it, and how. ``weights``, ``attention`` and ``compiled``: docs/acceleration.md.
        """
        manifest, tell = load_manifest(folder), on_progress or _unheard
        chosen, float8 = choose_device(device), weights == "float8"
        number = choose_dtype(dtype, chosen)
        budget = make_budget(
            folder,
            manifest,
            chosen,
            number,
            memory or MemoryOptions(),
            limits or Limits(),
            processes=1 if group is None else group.size,
            float8=float8,
            compiled=compiled,
        )
        try:
            plan = budget.plan_start(manifest, tell)
        except OutOfMemory as error:
            raise OutOfMemory(f"out of memory on {chosen} for {manifest.name}: {error.message}") from None
        for line in plan.table():
            tell(line)
        # In 8 bits the weights may fit where those that are read do not.
        resident = plan.level == "resident" and not float8
        place = chosen if resident else torch.device("cpu")
        with memory_told(f"the weights of {manifest.name}", place):
            components = load_components(folder, manifest, place, number, on_progress=on_progress)
            if not resident:
                components = replace(components, device=chosen)
                if chosen.type == "cuda":  # as load_components does it where it is on the device
                    keep_channels_last(components.vae)
            if float8:
                cast_to_float8(components.transformer)
            use_attention(components.transformer, attention, chosen)
            if compiled:
                compile_blocks(components.transformer, stg_block=manifest.stg_block)
            engine = cls(
                folder, manifest, components, group=group, parallel=parallel, budget=budget, on_device=resident
            )
        engine.prepare(tell)
        return engine

    @property
    def held(self) -> dict[str, int]:
        """Bytes of each network that is on the device now, wholly or in part."""
        return self._occupancy.held

    def prepare(self, tell: Callable[[str], None]) -> None:
        """What the first job would wait for: the distilled LoRA is 7.6 GB that are read to know its content."""
        if "distilled" not in self.manifest.loras:
            return
        tell("LoRA distilled")
        try:
            self._adapters.identify([(self._folder / self.manifest.loras["distilled"], 1.0)])
        except EngineError as error:  # of those jobs alone that want it
            tell(f"LoRA distilled cannot be used: {error.message}")

    def generate(
        self,
        job: Job,
        images: Images,
        *,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        on_log: Callable[[str], None] = lambda message: None,
        offer_preview: Offer | None = None,
        loras: Mapping[str, Path] = NO_FILES,
        mode: Mode = "auto",
    ) -> Generation:
        """Computes ``job``; ``images`` holds each keyframe's picture, already re-compressed as the manifest asks.

        ``loras``: the file of each LoRA that is not bundled, by name. ``on_progress`` is called after every denoising
        step, ``on_log`` with what is worth telling. ``offer_preview`` is called before ``on_progress``, where there is
        room for a picture. The same job gives the same bytes on the same machine, whatever ran before and whatever is
        previewed: all randomness comes from ``job.seed``. Raises ``sampler.Stopped`` when ``should_stop()`` is true
        between two steps, OutOfMemory, EngineError for a job that this engine cannot do, or InputError at the name of a
        LoRA of ``loras`` that does not fit.
        """
        check_job(job, self.manifest.model())
        selections = [select_loras(stage, self.manifest, self._folder, loras) for stage in job.stages]
        task = _Task(job, images, on_progress, should_stop, on_log, offer_preview, mode, self._plan(job), {})
        with loras_blamed(loras):
            latents = self._latents(task, selections)
        return self._decoded(task, latents)

    def _plan(self, job: Job) -> Plan:
        """Told at once, not after the minutes that it takes to get where it does not fit."""
        try:
            return self._occupancy.plan(job)
        except OutOfMemory as error:
            raise OutOfMemory(f"out of memory on {self._components.device} for {error.message}") from None

    def _latents(self, task: _Task, selections: list[Selection]) -> Latents:
        """Of the last stage, with the sound of the first."""
        self._read(task, selections)
        latents = self._stage(task, 0, selections[0], None)
        for index, selection in enumerate(selections[1:], start=1):
            refined = self._stage(task, index, selection, latents)
            # A later stage sees the sound so that the pictures stay with it; only the first one makes it.
            latents = Latents(refined.video, latents.audio)
        return latents

    def _read(self, task: _Task, selections: list[Selection]) -> None:
        """What can be told before anything is computed: LoRAs of any stage that do not fit, and texts that are cut."""
        with self._parts(task, 0).measured("loras"):
            for selection in selections:
                self._adapters.identify(selection)
        for name, text in (("prompt", task.job.prompt), ("negative prompt", task.job.negative_prompt)):
            if note := self._embedder.cut_note(name, text):
                task.on_log(note)

    def _stage(self, task: _Task, index: int, selection: Selection, before: Latents | None) -> Latents:
        """Stage ``index``, from noise or from what the stage before it gave."""
        run, parts = StageRun(task.job, index, self._components), self._parts(task, index)
        with parts.measured("loras"):
            report = self._occupancy.put_on(selection)
        if report.files or report.written:
            task.on_log(f"{place(task.job, index)}: {report}")
        with parts.measured("text"):
            texts = self._texts(task, run.stage)
        with parts.measured("image"):
            if any(keyframe.strength for keyframe in task.job.keyframes):
                self._occupancy.bring(task.plan, "image")
            held = run.hold(task.images)
        start = None
        if before is not None:
            with parts.measured("upsample"):
                self._occupancy.bring(task.plan, f"upsample {index + 1}")
                start = run.enlarge(before)

        with parts.measured("denoise", *task.names(index)):
            on_estimate = self._bring_network(task, index)
            denoise = self._denoise(task, run, held, task.plan.stages[index], *texts)
            latents = run.denoise(
                denoise,
                held,
                start,
                on_step=lambda step: task.report(parts, index, step),
                should_stop=task.should_stop,
                on_estimate=on_estimate,
            )
        if isinstance(denoise, Denoiser) and denoise.report:
            task.on_log(f"{place(task.job, index)}: {denoise.report}")
        return latents

    def _bring_network(self, task: _Task, index: int) -> Callable[[Tensor], None] | None:
        """Has the transformer on the device and, where pictures are wanted, the VAE; what offers them at each step."""
        if task.offer_preview is None:
            self._occupancy.bring(task.plan, f"denoise {index + 1}")
            return None
        if not self._occupancy.bring_previewed(task.plan, index):
            task.on_log(f"{place(task.job, index)}: no preview pictures, the VAE has no room beside the transformer")
            return None
        return offering(task.offer_preview, self._components.vae, task.job, task.plan.decoded_cells)

    def _denoise(
        self,
        task: _Task,
        run: StageRun,
        held: Conditioning,
        choice: StageChoice,
        positive: Embedding,
        negative: Embedding | None,
    ) -> Denoise:
        """The guided network on the stage's canvas, or on tiles of it."""
        stage, tiles = run.stage, run.tiles(held, choice.denoised_tokens)

        def denoiser(held: Conditioning) -> Denoiser:
            return Denoiser(
                self._components.transformer,
                run.grid,
                held,
                positive,
                negative,
                video=stage.video,
                audio=stage.audio,
                stg_block=self.manifest.stg_block,
                mode=task.mode if choice.batched or task.mode != "auto" else "sequential",
                # A device that sees its part of the tokens alone would decide alone what the block cache answers.
                acceleration=regular_at_most(task.job.acceleration) if self._split else task.job.acceleration,
                steps=stage.steps,
                refining=stage.start != "noise",
                text_keys=choice.text_keys and len(tiles) == 1,  # each tile would keep its own: 1.2 GB
                timestep_per_token=self._split,
                group=None if self._split else self._group,
            )

        return denoiser(held) if len(tiles) == 1 else TiledDenoiser(tiles, run.grid, held, denoiser)

    def _texts(self, task: _Task, stage: Stage) -> tuple[Embedding, Embedding | None]:
        """The prompt, and the negative one where a pass of the stage reads it, under the weights of this moment."""
        negative = "negative" in needed(stage.video, stage.audio)
        prompt = self._embed(task, task.job.prompt)
        return prompt, self._embed(task, task.job.negative_prompt) if negative else None

    def _embed(self, task: _Task, prompt: str) -> Embedding:
        key = self._adapters.connectors_key
        if not self._embedder.holds(prompt, connectors_key=key):
            self._occupancy.bring(task.plan, "text")
        return self._embedder.embed(prompt, connectors_key=key)

    def _decoded(self, task: _Task, latents: Latents) -> Generation:
        job, parts, audio = task.job, self._parts(task, len(task.job.stages) - 1), None
        if job.audio:
            with parts.measured("decode"):
                self._occupancy.bring(task.plan, "decode audio")
                audio = decode.decode_audio(
                    self._components.audio_vae,
                    self._components.vocoder,
                    latents.audio,
                    seconds=job.num_frames / job.fps,
                )
        return Generation(
            frames=parts.measured_each("decode", self._frames(task, latents.video)),
            audio=audio,
            sample_rate=self._components.vocoder.config.output_sampling_rate,
            seconds=task.seconds,
        )

    def _frames(self, task: _Task, latents: Tensor) -> Iterator[npt.NDArray[np.uint8]]:
        job, stage = task.job, task.job.stages[-1]
        at = delivery.positions(job.num_frames, job.fps, stage.num_frames, stage.fps)
        for frames in delivery.retime(self._chunks(task.plan, latents), at):
            yield to_yuv420(delivery.to_canvas(frames, job.width, job.height)).cpu().numpy()

    def _chunks(self, plan: Plan, latents: Tensor) -> Iterator[Tensor]:
        """Decoded frames. Whoever reads them may take his time, and other jobs may come in between."""
        chunks = decode.decode_video(self._components.vae, latents, cells=plan.decoded_cells)
        while True:
            self._occupancy.bring(plan, "decode video")
            chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk
            del chunk  # before the next tile is decoded

    def _parts(self, task: _Task, index: int) -> Parts:
        """Measures parts of the work of stage ``index``."""
        return Parts(task.seconds, stage_text(task.job, index), self._components.device)


def _unheard(text: str) -> None:
    pass
