"""What a video will become, as one picture, made between two steps of its denoising."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stillmotion.engine import delivery
from stillmotion.engine.decode import decode_video
from stillmotion.job import Job

Pixels = npt.NDArray[np.uint8]
"""RGB: (rows, columns, 3)."""

Offer = Callable[[Callable[[], Pixels]], None]
"""Called between two steps with a function that makes the picture of that moment. Whoever is offered one calls the
function now or not at all: later the VAE may be elsewhere."""


def offering(offer: Offer, vae: Any, job: Job, cells: int) -> Callable[[Tensor], None]:
    """What takes a step's estimate of the video's latents and offers its picture; see ``picture_of``."""
    return lambda latents: offer(lambda: picture_of(vae, latents, width=job.width, height=job.height, cells=cells))


def picture_of(vae: Any, latents: Tensor, *, width: int, height: int, cells: int) -> Pixels:
    """The middle of the video, cut like its delivery of ``width`` x ``height`` and not larger than what is computed.

    ``latents``: the clean estimate, normalised, (1, channels, latent frames, rows, columns). One latent frame alone is
    decoded, as if a video began there. That gives one picture instead of 8: at 704p 160 MB and 2.6 to 3.9 TFLOP, a
    fiftieth of 121 frames' and a hundredth of one pass of the network. ``cells``: see ``decode_video``.
    """
    middle = latents.shape[2] // 2
    (frame,) = decode_video(vae, latents[:, :, middle : middle + 1], cells=cells)
    picture = delivery.shown(frame[0], width, height)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
