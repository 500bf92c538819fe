"""Arithmetic of one stage at full size, counted on torch's meta device, which computes shapes and no numbers."""

import json
from collections.abc import Callable
from functools import cache, cached_property, partial
from typing import Any

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench import ROOT
from stillmotion.engine import conditioning, schedule
from stillmotion.engine.acceleration import LEVELS, Pace
from stillmotion.engine.conditioning import Conditioning
from stillmotion.engine.denoise import Denoiser
from stillmotion.engine.grid import Grid
from stillmotion.engine.guidance import Pass, needed
from stillmotion.engine.sampler import State
from stillmotion.engine.text import Embedding
from stillmotion.job import Acceleration, Family, Job, Stage

CONFIGURATIONS = ROOT / "bench/full_size.json"
"""Family to the constructor's arguments of its transformer."""

STG_BLOCK: dict[Family, int] = {"ltx-2": 29, "ltx-2.3": 28}
TEXT_TOKENS = 1024
SOUND_TOKENS_PER_SECOND = 25
SIGMA = 0.5
META = torch.device("meta")


class StageCount:
    """What ``stage`` of ``job`` costs; a kind of step is counted once."""

    def __init__(self, family: Family, job: Job, stage: Stage) -> None:
        self._stage, self._network, self._stg_block = stage, transformer(family), STG_BLOCK[family]
        self._needed = needed(stage.video, stage.audio)
        self._grid = Grid(
            frames=(stage.num_frames - 1) // 8 + 1,
            rows=stage.height // 32,
            columns=stage.width // 32,
            audio_frames=round(job.num_frames / job.fps * SOUND_TOKENS_PER_SECOND),
            fps=stage.fps,
        )
        self._held = self._hold(job)
        self._costs: dict[tuple[frozenset[Pass], bool], float] = {}

    def stock(self) -> float:
        """FLOP of diffusers' transformer under the pipeline's calls: the prompts together, the other passes alone."""
        passes: list[dict[str, Any]] = [{"samples": 2 if "negative" in self._needed else 1}]
        if "perturbed" in self._needed:
            passes.append({"spatio_temporal_guidance_blocks": [self._stg_block]})
        if "isolated" in self._needed:
            passes.append({"isolate_modalities": True})
        return self._stage.steps * sum(counted(partial(self._stock_pass, **each)) for each in passes)

    def ours(self, level: Acceleration, *, skipping: bool) -> float:
        """FLOP of the Denoiser; ``skipping``: whenever the level allows to skip the blocks after the first."""
        sigmas = schedule.levels(self._stage.schedule, self._stage.steps)[:-1]
        chosen = LEVELS[level if self._stage.start == "noise" else "none"]
        pace, total = Pace(chosen, self._needed, len(sigmas)), 0.0
        for step, sigma in enumerate(sigmas):
            now = pace.at(sigma)
            skips = skipping and now.may_skip_blocks
            total += self._first_block if skips else self._step(now.computed, first=step == 0)
        return total

    def _step(self, computed: frozenset[Pass], *, first: bool) -> float:
        """One step; the first of a run also computes what later ones remember."""
        if not self._costs:
            self._costs[self._needed, True] = self._count(self._needed)
        if (computed, first) not in self._costs:
            self._costs[computed, first] = self._count(computed)
        return self._costs[computed, first]

    def _count(self, computed: frozenset[Pass]) -> float:
        return counted(lambda: self._denoiser.passes(self._state(1), SIGMA, computed))

    @cached_property
    def _first_block(self) -> float:
        """A step that only sees whether it may skip the rest."""
        blocks = self._network.transformer_blocks
        self._network.transformer_blocks = blocks[:1]
        try:
            return self._count(frozenset({"conditional"}))
        finally:
            self._network.transformer_blocks = blocks

    @cached_property
    def _denoiser(self) -> Denoiser:
        return Denoiser(
            self._network,
            self._grid,
            self._held,
            self._text(1),
            self._text(1),
            video=self._stage.video,
            audio=self._stage.audio,
            stg_block=self._stg_block,
            mode="sequential",
        )

    def _stock_pass(self, samples: int = 1, **switches: Any) -> None:
        state, text, tokens = self._state(samples), self._text(samples), self._held.mask.shape[1]
        level = torch.empty(samples, device=META)
        self._network(
            hidden_states=state.video,
            audio_hidden_states=state.audio,
            encoder_hidden_states=text.video,
            audio_encoder_hidden_states=text.audio,
            timestep=torch.empty(samples, tokens, device=META),
            audio_timestep=level,
            sigma=level,
            video_coords=torch.empty(samples, 3, tokens, 2, device=META),
            audio_num_frames=self._grid.audio_frames,
            use_cross_timestep=True,
            return_dict=False,
            **switches,
        )

    def _hold(self, job: Job) -> Conditioning:
        """The job's keyframes; on the CPU, as the strengths are read."""
        tokens, channels = self._grid.rows * self._grid.columns, self._network.config.in_channels
        held = conditioning.free(torch.zeros(1, 3, self._grid.tokens, 2), channels)
        for keyframe in job.keyframes:
            image = torch.zeros(1, tokens, channels)
            if keyframe.frame == 0:
                held = held.with_start(image, keyframe.strength)
            else:
                held = held.with_keyframe(image, keyframe.strength, keyframe.frame, self._grid.fps)
        return held

    def _state(self, samples: int) -> State:
        config = self._network.config
        return State(
            _empty(samples, self._held.mask.shape[1], config.in_channels),
            _empty(samples, self._grid.audio_frames, config.audio_in_channels),
        )

    def _text(self, samples: int) -> Embedding:
        config = self._network.config
        if config.use_prompt_embeddings:
            widths = config.caption_channels, config.caption_channels
        else:
            widths = config.cross_attention_dim, config.audio_cross_attention_dim
        return Embedding(*(_empty(samples, TEXT_TOKENS, width) for width in widths))


@cache
def transformer(family: Family) -> Any:
    configuration = json.loads(CONFIGURATIONS.read_text())[family]
    # LTX-2's own configuration leaves out what guidance perturbs; stock would compute it too, with the right setting.
    with META:
        network = LTX2VideoTransformer3DModel(**configuration | {"perturbed_attn": True})
    # Module's own: diffusers' warns that no layer needs to stay in fp32.
    return torch.nn.Module.to(network, torch.bfloat16).eval().requires_grad_(False)


def counted(call: Callable[[], Any]) -> float:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def _empty(*shape: int) -> Tensor:
    return torch.empty(*shape, device=META, dtype=torch.bfloat16)
