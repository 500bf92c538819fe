"""One evaluation of the network at one noise level: the passes guidance needs, and the clean estimate they give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from stillmotion.engine.guidance import combine
from stillmotion.engine.sampler import State
from stillmotion.engine.text import Embedding
from stillmotion.job import Guidance

Mode = Literal["auto", "sequential", "batched"]
"""Passes one after the other, or as one batch; ``auto`` batches the small canvases. The results agree to 1e-5."""

_BATCHED_TOKENS = 4096
"""Up to here ``auto`` batches: launching kernels costs as much as running them. Above, a batch only costs memory."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The latent grid of one stage, and the video's frame rate as the position embedding sees it."""

    frames: int
    rows: int
    columns: int
    audio_frames: int
    fps: float

    @property
    def tokens(self) -> int:
        return self.frames * self.rows * self.columns


class Denoiser:
    """The guided clean estimate of both modalities; a ``sampler.Denoise``.

    ``mask`` is ``Conditioning.mask``. ``negative`` is ``None`` where no guidance needs it.
    """

    def __init__(
        self,
        transformer: Any,
        grid: Grid,
        mask: Tensor,
        positive: Embedding,
        negative: Embedding | None,
        *,
        video: Guidance,
        audio: Guidance,
        mode: Mode = "auto",
    ) -> None:
        self._transformer, self._mask = transformer, mask
        self._texts = [positive] if negative is None else [positive, negative]
        self._video, self._audio = video, audio
        self._batched = mode == "batched" or (mode == "auto" and grid.tokens <= _BATCHED_TOKENS)
        self._video_coords = transformer.rope.prepare_video_coords(
            1, grid.frames, grid.rows, grid.columns, mask.device, fps=grid.fps
        )
        self._audio_coords = transformer.audio_rope.prepare_audio_coords(1, grid.audio_frames, mask.device)

    def __call__(self, state: State, sigma: float) -> State:
        if len(self._texts) == 1:
            return self._predict(state, sigma, self._texts[0])
        positive, negative = self._both(state, sigma)
        return State(
            combine(positive.video, negative.video, self._video), combine(positive.audio, negative.audio, self._audio)
        )

    def _both(self, state: State, sigma: float) -> Sequence[State]:
        if not self._batched:
            return [self._predict(state, sigma, text) for text in self._texts]
        text = Embedding(
            torch.cat([text.video for text in self._texts]), torch.cat([text.audio for text in self._texts])
        )
        both = self._predict(state, sigma, text)
        return [State(both.video[index, None], both.audio[index, None]) for index in range(len(self._texts))]

    def _predict(self, state: State, sigma: float, text: Embedding) -> State:
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
            # Each modality's cross attention to the other is gated by the other's noise level, in both families.
            use_cross_timestep=True,
            return_dict=False,
        )
        return State(state.video - self._mask * sigma * video.float(), state.audio - sigma * audio.float())


def _repeat(tensor: Tensor, batch: int) -> Tensor:
    return tensor.expand(batch, *tensor.shape[1:])
