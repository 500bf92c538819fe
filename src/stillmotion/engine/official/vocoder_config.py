"""Configuration of the vocoder, from the shapes of its tensors and the metadata.

LTX-2's vocoder is one generator of waves from spectra. LTX-2.3's first makes 16 kHz in the same way, and a second one,
from the spectrum of the first one's output, what is missing to 48 kHz.
"""

import math
from typing import Any, Literal

from stillmotion.engine.official.facts import Metadata, Shapes
from stillmotion.job import Family

Network = Literal["LTX2Vocoder", "LTX2VocoderWithBWE"]

# Upsampling rates are in no shape. As published, by the kernels that are in the shapes:
_RATES = {
    (16, 15, 8, 4, 4): (6, 5, 2, 2, 2),
    (11, 4, 4, 4, 4, 4): (5, 2, 2, 2, 2, 2),
    (12, 11, 4, 4, 4): (6, 5, 2, 2, 2),
}
_DILATIONS = [1, 3, 5]


def vocoder_config(shapes: Shapes, metadata: Metadata, family: Family) -> tuple[Network, dict[str, Any]]:
    """diffusers' class and its arguments."""
    spectra = metadata.said("audio_vae.model.params.sampling_rate", 16000) / metadata.said(
        "audio_vae.preprocessing.stft.hop_length", 160
    )
    if family == "ltx-2":
        config = _generator(shapes, metadata, "", "vocoder", final=True)
        rate = spectra * math.prod(config["upsample_factors"])
        return "LTX2Vocoder", {**config, "output_sampling_rate": round(rate)}
    first = _generator(shapes, metadata, "vocoder.", "vocoder.vocoder", final=False)
    # The second one's output is added to the first one's before both are limited.
    second = _generator(shapes, metadata, "bwe_generator.", "vocoder.bwe", final=False, activated=False)
    _, _, window = shapes.of("mel_stft.stft_fn.forward_basis", 3)
    bins, _ = shapes.of("mel_stft.mel_basis", 2)
    # Both generators have one ratio and kernel of their anti-aliasing filters, which diffusers takes as arguments.
    return "LTX2VocoderWithBWE", {
        **first,
        **{f"bwe_{name}": value for name, value in second.items()},
        "filter_length": window,
        "window_length": metadata.said("vocoder.bwe.win_size", window),
        "hop_length": metadata.said("vocoder.bwe.hop_length", 80),
        "num_mel_channels": bins,
        "input_sampling_rate": metadata.said("vocoder.bwe.input_sampling_rate", 16000),
        "output_sampling_rate": metadata.said("vocoder.bwe.output_sampling_rate", 48000),
    }


def _generator(
    shapes: Shapes, metadata: Metadata, prefix: str, said: str, *, final: bool, activated: bool = True
) -> dict[str, Any]:
    """``prefix``: of its tensors; ``said``: of its metadata; ``final``: as published, a tanh at the end and a bias."""
    hidden, incoming, _ = shapes.of(f"{prefix}conv_in.weight", 3)
    stages = shapes.count(f"{prefix}upsamplers")
    kernels = [shapes.of(f"{prefix}upsamplers.{stage}.weight", 3)[2] for stage in range(stages)]
    resnets = shapes.exactly(shapes.count(f"{prefix}resnets"), stages, "resnets")
    widths = [shapes.of(f"{prefix}resnets.{index}.convs1.0.weight", 3)[2] for index in range(resnets)]
    return {
        "in_channels": incoming,
        "hidden_channels": hidden,
        "out_channels": shapes.of(f"{prefix}conv_out.weight", 3)[0],
        "upsample_kernel_sizes": kernels,
        "upsample_factors": _rates(shapes, metadata, said, kernels),
        "resnet_kernel_sizes": shapes.agreed("kernels", widths, metadata.said(f"{said}.resblock_kernel_sizes", widths)),
        "resnet_dilations": _dilations(shapes, metadata, said, [f"{prefix}resnets.{i}" for i in range(resnets)]),
        **_activation(shapes, prefix),
        "final_act_fn": _last(metadata, said, tanh=final, activated=activated),
        "final_bias": f"{prefix}conv_out.bias" in shapes,
    }


def _rates(shapes: Shapes, metadata: Metadata, said: str, kernels: list[int]) -> list[int]:
    rates = metadata.said(f"{said}.upsample_rates", list(_RATES.get(tuple(kernels), ())) or [0])
    if len(rates) != len(kernels) or min(rates) < 1:
        raise shapes.fault("upsamples at rates that neither its metadata nor its published kernels tell")
    return rates


def _dilations(shapes: Shapes, metadata: Metadata, said: str, resnets: list[str]) -> list[list[int]]:
    published = [_DILATIONS[: shapes.count(f"{resnet}.convs1")] for resnet in resnets]
    return metadata.said(f"{said}.resblock_dilation_sizes", published)


def _activation(shapes: Shapes, prefix: str) -> dict[str, Any]:
    filter_name = f"{prefix}act_out.upsample.filter"
    if filter_name not in shapes:
        return {"act_fn": "leaky_relu", "antialias": False}
    return {
        "act_fn": "snakebeta" if f"{prefix}act_out.act.beta" in shapes else "snake",
        "antialias": True,
        "antialias_kernel_size": shapes.of(filter_name, 3)[2],
    }


def _last(metadata: Metadata, said: str, *, tanh: bool, activated: bool) -> str | None:
    """What limits samples to [-1, 1]: tanh, or else cutting them off, which converted LTX-2.3 folders forget."""
    if not metadata.said(f"{said}.apply_final_activation", activated):
        return None
    return "tanh" if metadata.said(f"{said}.use_tanh_at_final", tanh) else "clamp"
