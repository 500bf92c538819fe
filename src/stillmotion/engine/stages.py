"""One stage of a job: what it starts from, what it must hold, and the run that denoises it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from stillmotion.engine import conditioning, delivery, schedule
from stillmotion.engine.components import Components
from stillmotion.engine.conditioning import Conditioning, pack, unpack
from stillmotion.engine.grid import Grid, audio_frames
from stillmotion.engine.noise import Noise
from stillmotion.engine.sampler import RESTART_ETA, Denoise, State, sample
from stillmotion.engine.tiling import Tile, plan_tiles
from stillmotion.engine.upsample import upsample
from stillmotion.errors import EngineError
from stillmotion.job import Job, Stage

Images = Mapping[str, npt.NDArray[np.uint8]]
"""Request field name to an upright RGB picture (rows, columns, 3)."""


@dataclass(frozen=True, slots=True)
class Latents:
    """What a stage gives, normalised, in fp32."""

    video: Tensor
    """(1, channels, latent frames, rows, columns): the grid's own, without keyframes."""
    audio: Tensor
    """Tokens (1, audio frames, channels)."""


class StageRun:
    """Stage ``index`` of ``job``, on its own size and frame grid."""

    def __init__(self, job: Job, index: int, components: Components) -> None:
        self.stage: Stage = job.stages[index]
        self._job, self._index, self._components = job, index, components
        self.grid = Grid.of(self.stage, components.vae, audio_frames(job, components.audio_vae))

    def hold(self, images: Images) -> Conditioning:
        """Each keyframe encoded at this stage's size and put at this stage's place in time."""
        stage, grid, transformer = self.stage, self.grid, self._components.transformer
        held = conditioning.free(
            grid.video_coords(transformer, self._components.device), transformer.config.in_channels
        )
        at = delivery.positions(self._job.num_frames, self._job.fps, stage.num_frames, stage.fps)
        for keyframe in self._job.keyframes:
            if keyframe.strength == 0:  # not even its tokens: the others would see them
                continue
            pixels = conditioning.fit(images[keyframe.image], stage.width, stage.height)
            image = conditioning.encode(self._components.vae, pixels)
            if keyframe.frame == 0:
                held = held.with_start(image, keyframe.strength)
            else:
                held = held.with_keyframe(image, keyframe.strength, at[keyframe.frame], stage.fps)
        return held

    def enlarge(self, before: Latents) -> Latents:
        """``before`` on this stage's grid; the sound as it is."""
        if self.stage.start == "noise":
            raise ValueError("a stage that starts from noise has none before it")
        upsampler = self._components.upsamplers[self.stage.start]
        return Latents(upsample(upsampler, self._components.vae, before.video), before.audio)

    def tiles(self, held: Conditioning, tokens: int | None) -> list[Tile]:
        """Tiles of up to ``tokens`` video tokens where the stage refines, else the whole canvas.

        Raises EngineError where ``tokens`` are too few for the stage's frames.
        """
        rows, columns = self.grid.rows, self.grid.columns
        if tokens is None or self.stage.start == "noise":  # tiles that each begin from noise would not agree
            return plan_tiles(rows, columns, largest=rows * columns)
        frames = held.mask.shape[1] // (rows * columns)
        try:
            return plan_tiles(rows, columns, largest=tokens // frames)
        except ValueError as error:
            raise EngineError(f"{tokens} tokens of {frames} latent frames: {error}") from error

    def denoise(
        self,
        denoise: Denoise,
        held: Conditioning,
        start: Latents | None,
        *,
        on_step: Callable[[int], None],
        should_stop: Callable[[], bool],
        on_estimate: Callable[[Tensor], None] | None = None,
    ) -> Latents:
        """The clean latents; ``start`` is what ``enlarge`` gave, ``None`` in the first stage. Raises Stopped.

        ``on_estimate`` is shown those of the video, as they are expected after each step.
        """
        clean = sample(
            denoise,
            self._noise(held),
            schedule.levels(self.stage.schedule, self.stage.steps),
            held,
            start=None if start is None else self._tokens(start, held),
            gamma=self.stage.gradient_gamma,
            eta=RESTART_ETA if self.stage.restart else 0.0,
            on_step=on_step,
            should_stop=should_stop,
            on_estimate=None if on_estimate is None else lambda clean: on_estimate(self._video(clean)),
        )
        return Latents(self._video(clean), clean.audio)

    def _video(self, state: State) -> Tensor:
        grid = self.grid
        return unpack(state.video[:, : grid.tokens], grid.frames, grid.rows, grid.columns)

    def _tokens(self, latents: Latents, held: Conditioning) -> State:
        """``latents`` as a state whose appended tokens are 0: keyframes are none of what was upsampled."""
        appended = held.mask.shape[1] - self.grid.tokens
        return State(functional.pad(pack(latents.video), (0, 0, 0, appended)), latents.audio)

    def _noise(self, held: Conditioning) -> Noise:
        config: Any = self._components.transformer.config
        return Noise(
            seed=self._job.seed,
            video=(1, self.grid.tokens, config.in_channels),
            audio=(1, self.grid.audio_frames, config.audio_in_channels),
            keyframes=held.mask.shape[1] - self.grid.tokens,
            device=self._components.device,
            stage=self._index,
        )
