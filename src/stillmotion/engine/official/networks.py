"""diffusers' networks for a published file: built without weights, matched with the file, then filled from it.

Nothing of the data is read before each tensor of the file has its one place, each place its tensor, and all shapes
agree: reading takes a minute and half the machine's memory, finding out takes a second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from diffusers.models.autoencoders.autoencoder_kl_ltx2_audio import AutoencoderKLLTX2Audio
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from diffusers.pipelines.ltx2.vocoder import UpSample1d

from stillmotion.engine.official.autoencoder_config import audio_vae_config, compression, video_vae_config
from stillmotion.engine.official.facts import Metadata, Shapes
from stillmotion.engine.official.header import Header, read_header
from stillmotion.engine.official.placement import Placement, generation, place_checkpoint, place_upsampler
from stillmotion.engine.official.transformer_config import connectors_config, transformer_config
from stillmotion.engine.official.upsampler_config import check_kind, upsampler_config
from stillmotion.engine.official.vocoder_config import vocoder_config
from stillmotion.engine.official.weights import WeightReader
from stillmotion.errors import BundleError
from stillmotion.job import Family, Upsampling

_VOCODERS = {"LTX2Vocoder": LTX2Vocoder, "LTX2VocoderWithBWE": LTX2VocoderWithBWE}


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A network whose weights are still in their file.

    ``module`` is a diffusers model on the meta device: it has its configuration and its tensors' shapes.
    """

    module: Any
    header: Header
    placement: Placement

    @property
    def size(self) -> int:
        """Bytes of its tensors in the file."""
        return sum(source.entry.end - source.entry.begin for source in self.placement.values())

    def fill(self, device: torch.device, dtype: torch.dtype) -> Any:
        """The network with its weights on ``device``, all of ``dtype``; for evaluation.

        All: the file's F32 tables of the transformer (290 in LTX-2.3, 22 MB) too, since diffusers adds them to
        activations without a cast. Left in F32 beside bf16 layers they would make those activations F32, which the
        next layer refuses. Rounded so, a model is the same as from a folder in diffusers' layout.

        Besides the network itself this takes 16 MiB of memory, whatever the file's size, and maps none of the file.
        Raises BundleError where the file cannot be read, and torch's error when memory runs out.
        """
        tensors = {}
        with WeightReader(self.header.path, device) as reader:
            for name, source in sorted(self.placement.items(), key=lambda item: item[1].entry.begin):
                tensors[name] = reader.read(source, dtype)
        self.module.load_state_dict(tensors, strict=True, assign=True)
        _compute_unsaved_buffers(self.module, device)
        return self.module.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    family: Family
    networks: Mapping[str, Unfilled]
    """One for each of manifest.COMPONENTS."""


def open_checkpoint(path: Path) -> Checkpoint:
    """The networks of a published single file. Raises BundleError unless it holds them exactly."""
    header = read_header(path)
    family = generation(header)
    placements = place_checkpoint(header)
    shapes = {component: Shapes(path, component, placement) for component, placement in placements.items()}
    modules = _configured(path, lambda: _modules(shapes, Metadata(header), family))
    for component, module in modules.items():
        _match(path, component, module, placements[component])
    return Checkpoint(family, {name: Unfilled(module, header, placements[name]) for name, module in modules.items()})


def open_upsampler(path: Path, kind: Upsampling) -> Unfilled:
    """The latent upsampler of a published file. Raises BundleError unless it is one, and of ``kind``."""
    header = read_header(path)
    placement = place_upsampler(header)
    shapes, metadata = Shapes(path, "upsampler", placement), Metadata(header)
    config = _configured(path, lambda: upsampler_config(shapes, metadata))
    check_kind(config, kind, path)
    module = _configured(path, lambda: _build(LTX2LatentUpsamplerModel, config))
    _match(path, "upsampler", module, placement)
    return Unfilled(module, header, placement)


def _modules(shapes: Mapping[str, Shapes], metadata: Metadata, family: Family) -> dict[str, Any]:
    vae = video_vae_config(shapes["vae"], metadata, family)
    connectors = connectors_config(shapes["connectors"], metadata, family)
    transformer = transformer_config(
        shapes["transformer"],
        metadata,
        text_width=connectors["caption_channels"],
        compression=compression(vae),
    )
    vocoder, vocoder_arguments = vocoder_config(shapes["vocoder"], metadata, family)
    return {
        "transformer": _build(LTX2VideoTransformer3DModel, transformer),
        "vae": _build(AutoencoderKLLTX2Video, vae),
        "audio_vae": _build(AutoencoderKLLTX2Audio, audio_vae_config(shapes["audio_vae"], metadata)),
        "vocoder": _build(_VOCODERS[vocoder], vocoder_arguments),
        "connectors": _build(LTX2TextConnectors, connectors),
    }


def _configured(path: Path, make: Callable[[], Any]) -> Any:
    """``make()``; a file whose shapes or metadata fit no network at all is told as one."""
    try:
        return make()
    except BundleError:
        raise
    except Exception as error:  # diffusers' constructors raise whatever impossible arguments lead to
        raise BundleError(f"{path}: no network has the shapes and settings that it gives: {error}") from error


def _build(network: Any, arguments: Mapping[str, Any]) -> Any:
    with torch.device("meta"):
        return network(**arguments)


def _match(path: Path, component: str, module: Any, placement: Placement) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    faults = []
    if missing := sorted(wanted.keys() - placement.keys()):
        faults.append(f"lacks {len(missing)} tensors, {missing[0]} among them")
    if extra := sorted(placement.keys() - wanted.keys()):
        faults.append(f"has {len(extra)} that it has no use for, {placement[extra[0]].key} among them")
    for name in sorted(wanted.keys() & placement.keys()):
        source = placement[name]
        if source.entry.shape != wanted[name]:
            faults.append(f"has {source.key} of shape {list(source.entry.shape)}, not {list(wanted[name])}")
            break
    if faults:
        raise BundleError(f"{path}: {component} {'; '.join(faults)}")


def _compute_unsaved_buffers(module: Any, device: torch.device) -> None:
    """The one tensor that is in no file: the filter that brings LTX-2.3's 16 kHz sound to its 48 kHz."""
    if isinstance(module, LTX2VocoderWithBWE):
        ratio = module.config.output_sampling_rate // module.config.input_sampling_rate
        module.resampler = UpSample1d(ratio=ratio, window_type="hann", persistent=False).to(device)
    empty = [name for name, tensor in chain(module.named_parameters(), module.named_buffers()) if tensor.is_meta]
    if empty:
        raise RuntimeError(f"{type(module).__name__} keeps {', '.join(empty)} out of its saved state")
