"""How large a bundle's networks are and how wide their activations, told from headers and configurations.

Nothing of a weight is read, and torch is not needed: the plan of memory exists before a byte of it is taken.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

from stillmotion.engine.manifest import COMPONENTS, Manifest
from stillmotion.engine.official.autoencoder_config import audio_vae_config, video_vae_config
from stillmotion.engine.official.facts import Metadata, Shapes
from stillmotion.engine.official.header import read_header
from stillmotion.engine.official.placement import Placement, generation, place_checkpoint, place_upsampler
from stillmotion.engine.official.transformer_config import connectors_config, transformer_config
from stillmotion.engine.official.upsampler_config import upsampler_config
from stillmotion.errors import BundleError
from stillmotion.job import Upsampling

FP32_BYTES = 4
ALWAYS_FP32 = frozenset({"audio_vae", "vocoder"})
"""Computed in fp32 whatever the others are."""

STREAMED = ("transformer", "text_encoder")
"""Networks that are a stack of equal blocks, which may come to the device one by one."""

_BLOCK = {
    "transformer": re.compile(r"transformer_blocks\.(\d+)\."),
    # Not the layers of the part that sees pictures, which are called vision_tower...encoder.layers.
    "text_encoder": re.compile(r"(?:language_model\.)?(?:model\.)?(?:language_model\.)?(?:model\.)?layers\.(\d+)\."),
}

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Network:
    """Bytes of a network's weights as they are computed with."""

    kept: int
    """Of what is no block."""
    blocks: tuple[int, ...] = ()
    """Of each block of its stack, in order; empty where it has none that could come one by one."""

    @property
    def size(self) -> int:
        return self.kept + sum(self.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """What the sizes of activations depend on: numbers of the networks' configurations."""

    itemsize: int
    """Bytes of an element of what is computed: 2 in bf16, 4 in fp32."""
    video: int
    """Channels of a video token in the transformer (4096)."""
    audio: int
    """Of a sound token (2048)."""
    latent: int
    """Of a video token as it is noised and denoised (128)."""
    layers: int
    """Blocks of the transformer."""
    lasting_text_keys: bool
    """Whether keys and values of a text serve a whole run: LTX-2, whose text no noise level modulates."""
    text_tokens: int
    text_states: int
    """Numbers of a text token that go into the connectors: 49 states of 3840."""
    per_modality: bool
    """Whether the connectors have a projection for each modality (LTX-2.3)."""
    frame_ratio: int
    side_ratio: int
    """Frames, and pixels of a side, that one latent of the video stands for."""
    patch: int
    encoder_channels: int
    decoder_channels: int
    """Of the video VAE's widest maps, at a resolution of the pixels over ``patch``."""
    upsampler_channels: int
    """Most of any upsampler; 0 without one."""
    audio_rate: float
    """Latents of sound per second (25)."""
    audio_map: int
    """Elements of one of the audio VAE's widest maps, for one latent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """One bundle, as the plan of memory sees it."""

    name: str
    networks: Mapping[str, Network]
    """Of each of manifest.COMPONENTS, the text encoder, and the upsamplers as ``upsampler spatial_x2``."""
    widths: Widths

    @property
    def size(self) -> int:
        return sum(network.size for network in self.networks.values())


def measure_bundle(folder: Path, manifest: Manifest, *, itemsize: int) -> Footprint:
    """``itemsize``: bytes of a weight as it will be computed with. Raises BundleError that names the file at fault."""
    parts = _Parts(itemsize)
    if manifest.checkpoint is None:
        for name in COMPONENTS:
            parts.add(name, _read_config(folder / name), _folder_shapes(folder / name))
    else:
        _add_checkpoint(parts, folder / manifest.checkpoint)
    text = _read_config(folder / "text_encoder")
    parts.add("text_encoder", text.get("text_config", text), _folder_shapes(folder / "text_encoder"))
    for kind, name in manifest.upsamplers.items():
        _add_upsampler(parts, kind, folder / name)
    try:
        return _footprint(manifest, parts)
    except (KeyError, TypeError, IndexError, ZeroDivisionError) as error:
        raise BundleError(f"{folder}: no network has the shapes and settings that it gives: {error!r}") from error


def measure_networks(manifest: Manifest, networks: Mapping[str, Any], *, itemsize: int) -> Footprint:
    """The same of networks that are in memory already, by the names of ``Footprint.networks``."""
    parts = _Parts(itemsize)
    for name, network in networks.items():
        tensors = chain(network.named_parameters(), network.named_buffers())
        parts.add(name, network.config, ((tensor, weight.numel()) for tensor, weight in tensors))
    return _footprint(manifest, parts)


def in_8_bits(footprint: Footprint) -> Footprint:
    """With the transformer's blocks, but the first and the last, as float8.py stores them: a byte for a weight.

    What else a block has, and the scales of the rows, is less than a hundredth of it.
    """
    transformer = footprint.networks["transformer"]
    first, *others = transformer.blocks
    inner = [int(size / footprint.widths.itemsize * 1.01) for size in others[:-1]]
    cast = replace(transformer, blocks=(first, *inner, *others[-1:]))
    return replace(footprint, networks={**footprint.networks, "transformer": cast})


class _Parts:
    def __init__(self, itemsize: int) -> None:
        self.itemsize = itemsize
        self.configs: dict[str, Config] = {}
        self.networks: dict[str, Network] = {}

    def add(self, name: str, config: Config, shapes: Iterable[tuple[str, int]]) -> None:
        """``shapes``: names and numbers of elements of the tensors."""
        self.configs[name] = config
        self.networks[name] = _network(name, shapes, FP32_BYTES if name in ALWAYS_FP32 else self.itemsize)


def upsampler_name(kind: Upsampling) -> str:
    return f"upsampler {kind}"


def _add_checkpoint(parts: _Parts, path: Path) -> None:
    header = read_header(path)
    family = generation(header)
    placements = place_checkpoint(header)
    shapes = {name: Shapes(path, name, placement) for name, placement in placements.items()}
    metadata = Metadata(header)
    vae, connectors = (
        video_vae_config(shapes["vae"], metadata, family),
        connectors_config(shapes["connectors"], metadata, family),
    )
    configs: dict[str, Config] = {
        "vae": vae,
        "connectors": connectors,
        "transformer": transformer_config(
            shapes["transformer"],
            metadata,
            text_width=connectors["caption_channels"],
            compression=(vae["temporal_compression_ratio"], vae["spatial_compression_ratio"]),
        ),
        "audio_vae": audio_vae_config(shapes["audio_vae"], metadata),
    }
    for name, placement in placements.items():
        parts.add(name, configs.get(name, {}), _placed_shapes(placement))


def _add_upsampler(parts: _Parts, kind: Upsampling, path: Path) -> None:
    if path.suffix == ".safetensors":
        header = read_header(path)
        placement = place_upsampler(header)
        config: Config = upsampler_config(Shapes(path, "upsampler", placement), Metadata(header))
        parts.add(upsampler_name(kind), config, _placed_shapes(placement))
    else:
        parts.add(upsampler_name(kind), _read_config(path), _folder_shapes(path))


def _placed_shapes(placement: Placement) -> Iterator[tuple[str, int]]:
    return ((name, prod(source.entry.shape)) for name, source in placement.items())


def _folder_shapes(folder: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.glob("*.safetensors")):
        try:
            header = read_header(path)
        except BundleError as error:
            raise BundleError(f"{folder} cannot be loaded: {error.message}") from None
        for name, entry in header.tensors.items():
            yield name, prod(entry.shape)


def _read_config(folder: Path) -> Config:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise BundleError(f"{path} is not a JSON object")
    return config


def _network(name: str, shapes: Iterable[tuple[str, int]], itemsize: int) -> Network:
    kept, blocks = 0, defaultdict[int, int](int)
    pattern = _BLOCK.get(name)
    for tensor, elements in shapes:
        found = pattern.match(tensor) if pattern else None
        if found:
            blocks[int(found[1])] += elements * itemsize
        else:
            kept += elements * itemsize
    return Network(kept, tuple(size for _, size in sorted(blocks.items())))


def _footprint(manifest: Manifest, parts: _Parts) -> Footprint:
    transformer, connectors, vae = (parts.configs[name] for name in ("transformer", "connectors", "vae"))
    audio = parts.configs["audio_vae"]
    # As many as the VAE halves its spectrum's frames: 4 spectrum frames make a latent.
    audio_ratio = 2 ** (len(audio["ch_mult"]) - 1)
    widths = Widths(
        itemsize=parts.itemsize,
        video=transformer["num_attention_heads"] * transformer["attention_head_dim"],
        audio=transformer["audio_num_attention_heads"] * transformer["audio_attention_head_dim"],
        latent=transformer["in_channels"],
        layers=transformer["num_layers"],
        lasting_text_keys=not transformer["cross_attn_mod"],
        text_tokens=manifest.max_sequence_length,
        text_states=connectors["caption_channels"] * connectors["text_proj_in_factor"],
        per_modality=connectors["per_modality_projections"],
        frame_ratio=vae["temporal_compression_ratio"],
        side_ratio=vae["spatial_compression_ratio"],
        patch=vae["patch_size"],
        encoder_channels=vae["block_out_channels"][0],
        decoder_channels=vae["decoder_block_out_channels"][0] // vae["upsample_factor"][0],
        upsampler_channels=max(
            (config["mid_channels"] for name, config in parts.configs.items() if name.startswith("upsampler")),
            default=0,
        ),
        audio_rate=audio["sample_rate"] / audio["mel_hop_length"] / audio_ratio,
        audio_map=audio["base_channels"] * audio["mel_bins"] * audio_ratio,
    )
    return Footprint(name=manifest.name, networks=parts.networks, widths=widths)
