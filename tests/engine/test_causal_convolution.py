"""The VAE's convolutions in the channels-last layout: diffusers' own results."""

import copy

import pytest
import torch

from stillmotion.engine.causal_convolution import keep_channels_last
from stillmotion.engine.components import Components


@pytest.mark.parametrize("causal", [False, True])
def test_a_convolution_is_diffusers_own(components: Components, causal: bool) -> None:
    vae = copy.deepcopy(components.vae)
    keep_channels_last(vae)
    frames = torch.randn(1, vae.decoder.conv_in.conv.in_channels, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    given = []
    vae.decoder.conv_in.conv.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    kept = vae.decoder.conv_in(frames, causal=causal)
    torch.testing.assert_close(kept, components.vae.decoder.conv_in(frames, causal=causal), rtol=1e-5, atol=1e-5)
    assert given[0].is_contiguous(memory_format=torch.channels_last_3d)


def test_encoding_and_decoding_stay_the_same(components: Components) -> None:
    vae = copy.deepcopy(components.vae)
    keep_channels_last(vae)
    assert vae.state_dict().keys() == components.vae.state_dict().keys(), "a bundle's weights still have their names"
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(1, 3, 9, 64, 64, generator=generator)
    latents = torch.randn(1, vae.config.latent_channels, 3, 2, 2, generator=generator)
    for ours, own in (
        (vae.encode(pixels).latent_dist.mode(), components.vae.encode(pixels).latent_dist.mode()),
        (vae.decode(latents, return_dict=False)[0], components.vae.decode(latents, return_dict=False)[0]),
    ):
        torch.testing.assert_close(ours, own, rtol=1e-4, atol=1e-5)
