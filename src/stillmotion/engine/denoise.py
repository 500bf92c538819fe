"""One evaluation of the network at one noise level: the passes guidance needs, and the clean estimate they give."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from stillmotion.engine import perturbation
from stillmotion.engine.acceleration import LEVELS, Pace
from stillmotion.engine.block_cache import BlockCache
from stillmotion.engine.compilation import is_compiled
from stillmotion.engine.conditioning import Conditioning
from stillmotion.engine.grid import Grid
from stillmotion.engine.guidance import Pass, combine, needed, weights, without
from stillmotion.engine.memo import Again, Memo, Text
from stillmotion.engine.parallel.group import Group
from stillmotion.engine.parallel.guidance import share_out
from stillmotion.engine.sampler import State
from stillmotion.engine.text import Embedding
from stillmotion.engine.timestep_embedding import runs_of
from stillmotion.job import Acceleration, Guidance

Mode = Literal["auto", "sequential", "batched"]
"""Passes one after the other, or as one batch; ``auto`` batches the small canvases. The results agree to 1e-5."""

_BATCHED_TOKENS = 4096
"""Up to here ``auto`` batches: larger matrices run better. Above, a batch only costs memory."""

_LAUNCH_BOUND_TOKENS = 2048
"""Up to here ``auto`` batches the perturbed pass too, which then repeats the blocks it could share (a quarter more
work for three passes). On an H200 a step of four passes, one after the other, took 0.83 s on 1536 tokens, most of it
launching kernels, and 0.98 s on 3520, where the GPU computes for 0.89 s."""


class Denoiser:
    """The guided clean estimate of both modalities; a ``sampler.Denoise``. Called once for each step, in order.

    ``negative`` is ``None`` where no guidance needs it. ``stg_block`` is the block that spatio-temporal guidance
    perturbs. ``steps``: how many there will be, which every ``acceleration`` but none needs to know. ``refining``: the
    run improves a video of an earlier stage in a few steps, none of which can be spared: acceleration is off.

    ``text_keys``: keep the keys and values of the texts; 1.2 GB for each at full size (memo.py).
    ``timestep_per_token``: give the network a timestep for every token, which splitting the tokens over devices needs.
    ``group``: processes that were given the same, and compute a part of the passes each.
    The network's weights must not change between two calls.
    """

    def __init__(
        self,
        transformer: Any,
        grid: Grid,
        held: Conditioning,
        positive: Embedding,
        negative: Embedding | None,
        *,
        video: Guidance,
        audio: Guidance,
        stg_block: int,
        mode: Mode = "auto",
        acceleration: Acceleration = "none",
        steps: int | None = None,
        refining: bool = False,
        text_keys: bool = True,
        timestep_per_token: bool = False,
        group: Group | None = None,
    ) -> None:
        self._acceleration: Acceleration = "none" if refining else acceleration
        if self._acceleration != "none" and steps is None:
            raise ValueError(f"acceleration {self._acceleration} needs to know the number of steps")
        device = positive.video.device
        self._transformer, self._stg_block = transformer, stg_block
        self._texts: dict[Text, Embedding | None] = {"positive": positive, "negative": negative}
        self._batches: dict[tuple[Text, ...], Embedding] = {}
        self._video, self._audio = video, audio
        self._needed = needed(video, audio)
        self._level = LEVELS[self._acceleration]
        self._pace = Pace(self._level, self._needed, steps or 0)
        most = _LAUNCH_BOUND_TOKENS if "perturbed" in self._needed else _BATCHED_TOKENS
        self._batched = mode == "batched" or (mode == "auto" and held.mask.shape[1] <= most and group is None)
        self._group = group
        self._mask, self._video_coords = held.mask.to(device), held.coords.to(device)
        self._audio_coords = grid.audio_coords(transformer, device)
        runs = None if timestep_per_token else runs_of(held.mask)
        self._timesteps = self._mask[..., 0] if runs is None else runs.mask[None].to(device)
        lengths = runs.lengths if runs else None
        self._memo = Memo(
            transformer,
            lengths,
            text_keys=text_keys,
            first_block=stg_block > 0,
            compiled=is_compiled(transformer),
        )
        self._cache = BlockCache(self._level.threshold)
        self._apart: dict[Pass, State] = {}
        self._computed = 0

    def __call__(self, state: State, sigma: float) -> State:
        now = self._pace.at(sigma)
        skips = self._cache.skips
        estimates = self.passes(state, sigma, now.computed, may_skip_blocks=now.may_skip_blocks)
        self._computed += len(now.computed) - (self._cache.skips - skips)
        self._carry(estimates, now.carried, sigma)
        if self._pace.over:  # the run is over, and decoding wants the memory
            self._release()
        return State(
            combine({name: each.video for name, each in estimates.items()}, without(self._video, now.dropped)),
            combine({name: each.audio for name, each in estimates.items()}, without(self._audio, now.dropped)),
        )

    @property
    def report(self) -> str | None:
        """What acceleration has spared so far, for the log; ``None`` where it is off."""
        if self._acceleration == "none":
            return None
        steps = self._pace.step
        return (
            f"acceleration {self._acceleration}: {self._computed} of {len(self._needed) * steps} passes computed, "
            f"{self._cache.skips} of {steps} steps from cache"
        )

    def passes(
        self,
        state: State,
        sigma: float,
        computed: Collection[Pass] | None = None,
        *,
        may_skip_blocks: bool = False,
    ) -> dict[Pass, State]:
        """The clean estimates in fp32 of the ``computed`` passes, by default those that guidance needs; no other runs.

        ``computed`` has the conditional pass. ``may_skip_blocks``: that one may be answered by the block cache.
        """
        wanted = self._needed if computed is None else frozenset(computed)
        if self._group is not None:
            return self._shared_out(state, sigma, wanted, self._group, may_skip_blocks=may_skip_blocks)
        return self._compute(state, sigma, wanted, may_skip_blocks=may_skip_blocks)

    def _shared_out(
        self, state: State, sigma: float, wanted: frozenset[Pass], group: Group, *, may_skip_blocks: bool
    ) -> dict[Pass, State]:
        """As ``_compute``, each process its part; all of them get all estimates."""
        places = share_out(wanted, group.size)
        mine = frozenset(name for name, place in places.items() if place == group.rank)
        estimates = self._compute(state, sigma, mine, may_skip_blocks=may_skip_blocks) if mine else {}
        exchanged: dict[Pass, State] = {}
        for name, place in places.items():
            sent = estimates.get(name) or State(torch.empty_like(state.video), torch.empty_like(state.audio))
            exchanged[name] = State(group.broadcast(sent.video, place), group.broadcast(sent.audio, place))
        return exchanged

    def _compute(
        self, state: State, sigma: float, wanted: frozenset[Pass], *, may_skip_blocks: bool
    ) -> dict[Pass, State]:
        watched = self._cache.watching(self._transformer, may_skip=may_skip_blocks)
        compute = self._together if self._batched else self._one_by_one
        try:
            estimates = compute(state, sigma, wanted, watched if self._level.threshold else nullcontext())
            if "isolated" in wanted:  # a switch of the whole call, so never part of a batch
                estimates["isolated"] = self._predict(state, sigma, ("positive",), isolate_modalities=True)
        finally:
            self._memo.end_step()
        return estimates

    def _together(
        self, state: State, sigma: float, wanted: frozenset[Pass], watched: AbstractContextManager[None]
    ) -> dict[Pass, State]:
        """All passes but the isolated one as samples of a batch: fewest launches, but no shared prefix."""
        texts: dict[Pass, Text] = {"conditional": "positive"}
        if "negative" in wanted:
            texts["negative"] = "negative"
        if "perturbed" in wanted:
            texts["perturbed"] = "positive"  # the last sample
        with self._perturbed() if "perturbed" in wanted else nullcontext(), watched:
            batch = self._predict(state, sigma, tuple(texts.values()))
        return {name: State(batch.video[i, None], batch.audio[i, None]) for i, name in enumerate(texts)}

    def _one_by_one(
        self, state: State, sigma: float, wanted: frozenset[Pass], watched: AbstractContextManager[None]
    ) -> dict[Pass, State]:
        estimates: dict[Pass, State] = {}
        again = _shared(wanted)
        if "conditional" not in wanted:  # it is another process's
            if "perturbed" in wanted:
                with self._perturbed():
                    estimates["perturbed"] = self._predict(state, sigma, ("positive",))
        elif "perturbed" in wanted:
            block = self._transformer.transformer_blocks[self._stg_block]
            with watched, perturbation.recorded(block) as states:
                estimates["conditional"] = self._predict(state, sigma, ("positive",), again=again)
            with self._perturbed(), perturbation.resumed(self._transformer, self._stg_block, states):
                estimates["perturbed"] = self._predict(state, sigma, ("positive",))
            states.clear()  # as large as the network's own state: not to be held during the other passes
        else:
            with watched:
                estimates["conditional"] = self._predict(state, sigma, ("positive",), again=again)
        if "negative" in wanted:
            estimates["negative"] = self._predict(state, sigma, ("negative",))
        return estimates

    def _perturbed(self) -> AbstractContextManager[None]:
        """Perturbs the modalities that are guided by it: a weight of 0 leaves that modality's attention alone."""
        return perturbation.perturbed(
            self._transformer.transformer_blocks[self._stg_block],
            video="perturbed" in weights(self._video),
            audio="perturbed" in weights(self._audio),
        )

    def _carry(self, estimates: dict[Pass, State], carried: Collection[Pass], sigma: float) -> None:
        """Remembers how far each pass is from the conditional one, and adds the ``carried`` ones to the estimates.

        In velocity, ``(c - p) / sigma``, not in the estimates: these draw together as the noise goes, and a distance
        from a higher level would be too large.
        """
        if self._acceleration == "none":
            return
        base = estimates["conditional"]
        for name, each in estimates.items():
            if name != "conditional":
                self._apart[name] = State((base.video - each.video) / sigma, (base.audio - each.audio) / sigma)
        for name in carried:
            apart = self._apart[name]
            estimates[name] = State(base.video - sigma * apart.video, base.audio - sigma * apart.audio)

    def _release(self) -> None:
        self._memo.end_run()
        self._cache.clear()
        self._apart.clear()
        self._batches.clear()

    def _predict(
        self,
        state: State,
        sigma: float,
        texts: tuple[Text, ...],
        *,
        isolate_modalities: bool = False,
        again: Collection[Again] = (),
    ) -> State:
        """Clean estimates in fp32 under each of ``texts``: ``x0 = x - s v`` with the noise level s of each token.

        A held token is at ``mask * sigma``, and both the network and x0 are told so.
        """
        text, batch = self._text(texts), len(texts)
        level = torch.full((batch,), 1000 * sigma, device=self._mask.device)
        with self._memo.during(texts, again):
            video, audio = self._transformer(
                hidden_states=_repeat(state.video, batch).to(text.video.dtype),
                audio_hidden_states=_repeat(state.audio, batch).to(text.audio.dtype),
                encoder_hidden_states=text.video,
                audio_encoder_hidden_states=text.audio,
                timestep=level[:, None] * self._timesteps,
                audio_timestep=level,
                sigma=level,
                audio_sigma=level,
                video_coords=_repeat(self._video_coords, batch),
                audio_coords=_repeat(self._audio_coords, batch),
                isolate_modalities=isolate_modalities,
                # Each modality's cross attention to the other is gated by the other's noise level, in both families.
                use_cross_timestep=True,
                return_dict=False,
            )
        return State(state.video - self._mask * sigma * video.float(), state.audio - sigma * audio.float())

    def _text(self, texts: tuple[Text, ...]) -> Embedding:
        if texts not in self._batches:
            self._batches[texts] = _stacked([self._texts[text] for text in texts])
        return self._batches[texts]


def _shared(wanted: frozenset[Pass]) -> set[Again]:
    """What the passes after the conditional one have in common with it. The perturbed one starts further on."""
    shared: set[Again] = set()
    if wanted & {"negative", "isolated"}:
        shared.add("state")
    if wanted & {"perturbed", "isolated"}:
        shared.add("text")
    return shared


def _stacked(texts: Sequence[Embedding | None]) -> Embedding:
    present = [text for text in texts if text is not None]
    if len(present) < len(texts):
        raise ValueError("guidance by a negative prompt needs the negative prompt")
    if len(present) == 1:
        return present[0]
    return Embedding(torch.cat([text.video for text in present]), torch.cat([text.audio for text in present]))


def _repeat(tensor: Tensor, batch: int) -> Tensor:
    return tensor.expand(batch, *tensor.shape[1:])
