"""Configuration of a latent upsampler, from the shapes of its tensors; and which of the manifest's kinds it is."""

import math
from collections.abc import Mapping
from typing import Any

from stillmotion.engine.official.facts import Metadata, Shapes
from stillmotion.errors import BundleError
from stillmotion.job import Upsampling


def upsampler_config(shapes: Shapes, metadata: Metadata) -> dict[str, Any]:
    """Arguments of LTX2LatentUpsamplerModel.

    A rational resampler enlarges by a whole number and then blurs and skips by another one; that one is told by the
    metadata, or as published: 3/2, or nothing skipped.
    """
    rank = shapes.rank("initial_conv.weight")
    if rank not in (4, 5):
        raise shapes.fault("has no convolution of 2 or 3 dimensions at its start")
    width, channels, *_ = shapes.of("initial_conv.weight", rank)
    rational = "upsampler.blur_down.kernel" in shapes
    name = "upsampler.conv.weight" if rational else "upsampler.0.weight"
    temporal = shapes.rank(name) == 5
    outgoing, incoming, *_ = shapes.of(name, 5 if temporal else 4)
    factor = shapes.exactly(outgoing, incoming, "upsampling")
    # A 3D convolution enlarges time by 2, or time and both sides by 2; a 2D one both sides.
    if factor not in ((2, 8) if temporal else (4, 9, 16) if rational else (4,)):
        raise shapes.fault(f"enlarges {factor}-fold")
    blocks = shapes.count("res_blocks")
    config: dict[str, Any] = {
        "in_channels": channels,
        "mid_channels": width,
        "num_blocks_per_stage": shapes.agreed("blocks", blocks, metadata.said("num_blocks_per_stage", blocks)),
        "dims": rank - 2,
        "spatial_upsample": not temporal or factor == 8,
        "temporal_upsample": temporal,
        "use_rational_resampler": rational,
    }
    if rational:
        side = math.isqrt(factor)
        config["rational_spatial_scale"] = metadata.said("spatial_scale", 1.5 if side == 3 else float(side))
    return config


def check_kind(config: Mapping[str, Any], kind: Upsampling, path: object) -> None:
    """That the upsampler configured so does what the manifest says. Raises BundleError with what it does."""
    does = _describe(config)
    wanted = {"spatial_x2": "x2 in space", "temporal_x2": "x2 in time"}[kind]
    if does != wanted:
        raise BundleError(f"{path} is an upsampler of {does}; {kind} needs one of {wanted}")


def _describe(config: Mapping[str, Any]) -> str:
    if not config["spatial_upsample"]:
        return "x2 in time"
    scale = config["rational_spatial_scale"] if config["use_rational_resampler"] else 2.0
    return f"x{scale:g} in space" + (" and x2 in time" if config["temporal_upsample"] else "")
