"""From the latents of one stage to the canvas of the next."""

from typing import Any

from torch import Tensor

from stillmotion.engine.conditioning import channelwise


def upsample(upsampler: Any, vae: Any, latents: Tensor) -> Tensor:
    """Twice the rows and columns of ``latents``, or twice the latent frames less one, as ``upsampler`` was trained for.

    ``latents``: normalised, (1, channels, latent frames, rows, columns) in fp32, as is the result. The upsampler works
    on the VAE's own scale. Twice the frames less one because the first latent frame stands for one picture and every
    other for eight: ``8 (n - 1) + 1`` pictures become ``16 (n - 1) + 1``.
    """
    mean, deviation = channelwise(vae.latents_mean, latents), channelwise(vae.latents_std, latents)
    larger: Tensor = upsampler((latents * deviation + mean).to(upsampler.dtype)).float()
    return (larger - mean) / deviation
