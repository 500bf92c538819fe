"""One evaluation of the network at one noise level: the passes guidance needs, and the clean estimate they give."""

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from stillmotion.engine import perturbation
from stillmotion.engine.conditioning import Conditioning
from stillmotion.engine.grid import Grid
from stillmotion.engine.guidance import Pass, combine, needed, weights
from stillmotion.engine.sampler import State
from stillmotion.engine.text import Embedding
from stillmotion.job import Guidance

Mode = Literal["auto", "sequential", "batched"]
"""Passes one after the other, or as one batch; ``auto`` batches the small canvases. The results agree to 1e-5."""

_BATCHED_TOKENS = 4096
"""Up to here ``auto`` batches: larger matrices run better. Above, a batch only costs memory."""

_LAUNCH_BOUND_TOKENS = 1024
"""Up to here ``auto`` batches the perturbed pass too, which then repeats the blocks it could share (a quarter more
work for three passes). By arithmetic, not measurement: a block of 0.4 B parameters computes 1 ms on 1024 tokens at 800
TFLOP/s, and launching its hundred kernels takes half of that."""


class Denoiser:
    """The guided clean estimate of both modalities; a ``sampler.Denoise``.

    ``negative`` is ``None`` where no guidance needs it. ``stg_block`` is the block that spatio-temporal guidance
    perturbs.
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
    ) -> None:
        self._transformer, self._mask, self._stg_block = transformer, held.mask, stg_block
        self._positive, self._negative = positive, negative
        self._video, self._audio = video, audio
        self._needed = needed(video, audio)
        most = _LAUNCH_BOUND_TOKENS if "perturbed" in self._needed else _BATCHED_TOKENS
        self._batched = mode == "batched" or (mode == "auto" and held.mask.shape[1] <= most)
        self._video_coords = held.coords
        self._audio_coords = grid.audio_coords(transformer, held.mask.device)

    def __call__(self, state: State, sigma: float) -> State:
        estimates = self.passes(state, sigma)
        return State(
            combine({name: estimate.video for name, estimate in estimates.items()}, self._video),
            combine({name: estimate.audio for name, estimate in estimates.items()}, self._audio),
        )

    def passes(self, state: State, sigma: float) -> dict[Pass, State]:
        """The clean estimates in fp32 of each pass that guidance needs, and of no other."""
        estimates = self._together(state, sigma) if self._batched else self._one_by_one(state, sigma)
        if "isolated" in self._needed:  # a switch of the whole call, so never part of a batch
            estimates["isolated"] = self._predict(state, sigma, self._positive, isolate_modalities=True)
        return estimates

    def _together(self, state: State, sigma: float) -> dict[Pass, State]:
        """All passes but the isolated one as samples of a batch: fewest launches, but no shared prefix."""
        texts: dict[Pass, Embedding] = {"conditional": self._positive}
        if "negative" in self._needed:
            texts["negative"] = self._negative_text()
        if "perturbed" not in self._needed:
            return self._predict_each(state, sigma, texts)
        texts["perturbed"] = self._positive  # the last sample
        with self._perturbed():
            return self._predict_each(state, sigma, texts)

    def _one_by_one(self, state: State, sigma: float) -> dict[Pass, State]:
        estimates: dict[Pass, State] = {}
        if "perturbed" in self._needed:
            block = self._transformer.transformer_blocks[self._stg_block]
            with perturbation.recorded(block) as states:
                estimates["conditional"] = self._predict(state, sigma, self._positive)
            with self._perturbed(), perturbation.resumed(self._transformer, self._stg_block, states):
                estimates["perturbed"] = self._predict(state, sigma, self._positive)
            states.clear()  # as large as the network's own state: not to be held during the other passes
        else:
            estimates["conditional"] = self._predict(state, sigma, self._positive)
        if "negative" in self._needed:
            estimates["negative"] = self._predict(state, sigma, self._negative_text())
        return estimates

    def _negative_text(self) -> Embedding:
        if self._negative is None:
            raise ValueError("guidance by a negative prompt needs the negative prompt")
        return self._negative

    def _perturbed(self) -> AbstractContextManager[None]:
        """Perturbs the modalities that are guided by it: a weight of 0 leaves that modality's attention alone."""
        return perturbation.perturbed(
            self._transformer.transformer_blocks[self._stg_block],
            video="perturbed" in weights(self._video),
            audio="perturbed" in weights(self._audio),
        )

    def _predict_each(self, state: State, sigma: float, texts: dict[Pass, Embedding]) -> dict[Pass, State]:
        text = Embedding(
            torch.cat([text.video for text in texts.values()]), torch.cat([text.audio for text in texts.values()])
        )
        batch = self._predict(state, sigma, text)
        return {name: State(batch.video[i, None], batch.audio[i, None]) for i, name in enumerate(texts)}

    def _predict(self, state: State, sigma: float, text: Embedding, *, isolate_modalities: bool = False) -> State:
        """Clean estimates in fp32 under each text of the batch: ``x0 = x - s v`` with the noise level s of each token.

        A held token is at ``mask * sigma``, and both the network and x0 are told so.
        """
        batch = text.video.shape[0]
        level = torch.full((batch,), 1000 * sigma, device=self._mask.device)
        video, audio = self._transformer(
            hidden_states=_repeat(state.video, batch).to(text.video.dtype),
            audio_hidden_states=_repeat(state.audio, batch).to(text.audio.dtype),
            encoder_hidden_states=text.video,
            audio_encoder_hidden_states=text.audio,
            timestep=level[:, None] * self._mask[..., 0],
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


def _repeat(tensor: Tensor, batch: int) -> Tensor:
    return tensor.expand(batch, *tensor.shape[1:])
