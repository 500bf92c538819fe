"""Files in the published layout: the real headers without their data, and tiny whole ones.

The manifests in ``manifests/`` list the tensors of the published files by name, shape and type. Their names are
translated here by regular expressions, independently of the product's table.
"""

import copy
import functools
import gzip
import hashlib
import json
import math
import re
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Video
from safetensors.torch import load_file, save_file
from torch import Tensor

from stillmotion.job import Family

MANIFESTS = Path(__file__).parent / "manifests"
COMPONENTS = ("transformer", "vae", "audio_vae", "vocoder", "connectors")
PUBLISHED: Mapping[Family, str] = {"ltx-2": "ltx-2-19b-dev", "ltx-2.3": "ltx-2.3-22b-dev"}
UPSAMPLERS = (
    "ltx-2-spatial-upscaler-x2-1.0",
    "ltx-2-temporal-upscaler-x2-1.0",
    "ltx-2.3-spatial-upscaler-x1.5-1.0",
    "ltx-2.3-spatial-upscaler-x2-1.1",
    "ltx-2.3-temporal-upscaler-x2-1.0",
)
BYTES = {"BF16": 2, "F32": 4}
DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32}

# (pattern, replacement), applied one after the other to a whole published name.
_RULES = [
    (r"^model\.diffusion_model\.(video|audio)_embeddings_connector\.", r"connectors/\1_connector."),
    (r"^text_embedding_projection\.aggregate_embed\.", "connectors/text_proj_in."),
    (r"^text_embedding_projection\.(video|audio)_aggregate_embed\.", r"connectors/\1_text_proj_in."),
    (r"^model\.diffusion_model\.", "transformer/"),
    (r"^(vae|audio_vae|vocoder)\.", r"\1/"),
    (r"^(connectors/.*)\.transformer_1d_blocks\.", r"\1.transformer_blocks."),
    (r"\.([qk])_norm\.weight$", r".norm_\1.weight"),
    (r"^transformer/(audio_)?patchify_proj\.", r"transformer/\1proj_in."),
    (r"^transformer/(audio_)?prompt_adaln_single\.", r"transformer/\1prompt_adaln."),
    (r"^transformer/(audio_)?adaln_single\.", r"transformer/\1time_embed."),
    (r"^transformer/av_ca_(video|audio)_scale_shift_adaln_single\.", r"transformer/av_cross_attn_\1_scale_shift."),
    (r"^transformer/av_ca_a2v_gate_adaln_single\.", "transformer/av_cross_attn_video_a2v_gate."),
    (r"^transformer/av_ca_v2a_gate_adaln_single\.", "transformer/av_cross_attn_audio_v2a_gate."),
    (r"\.scale_shift_table_a2v_ca_(video|audio)$", r".\1_a2v_cross_attn_scale_shift_table"),
    (r"^(vae|audio_vae)/per_channel_statistics\.mean-of-means$", r"\1/latents_mean"),
    (r"^(vae|audio_vae)/per_channel_statistics\.std-of-means$", r"\1/latents_std"),
    (r"^vae/encoder\.down_blocks\.8\.", "vae/encoder.mid_block."),
    (r"^vae/decoder\.up_blocks\.0\.", "vae/decoder.mid_block."),
    (r"^(vae/.*)\.res_blocks\.", r"\1.resnets."),
    (r"^(vocoder/.*)\.downsample\.lowpass\.filter$", r"\1.downsample.filter"),
    (r"^vocoder/((?:vocoder\.|bwe_generator\.)?)ups\.", r"vocoder/\1upsamplers."),
    (r"^vocoder/((?:vocoder\.|bwe_generator\.)?)resblocks\.", r"vocoder/\1resnets."),
    (r"^vocoder/((?:vocoder\.|bwe_generator\.)?)conv_pre\.", r"vocoder/\1conv_in."),
    (r"^vocoder/((?:vocoder\.|bwe_generator\.)?)conv_post\.", r"vocoder/\1conv_out."),
    (r"^vocoder/((?:vocoder\.|bwe_generator\.)?)act_post\.", r"vocoder/\1act_out."),
]
DROPPED = {
    f"vae.per_channel_statistics.{name}" for name in ("channel", "mean-of-stds", "mean-of-stds_over_std-of-means")
}


def translated(key: str) -> tuple[str, str]:
    """(component, diffusers' name) of a published name that is not dropped."""
    name = key
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    if match := re.fullmatch(r"vae/encoder\.down_blocks\.(\d)\.(.*)", name):
        number, rest = int(match[1]), match[2]
        name = f"vae/encoder.down_blocks.{number // 2}.{'downsamplers.0.' if number % 2 else ''}{rest}"
    if match := re.fullmatch(r"vae/decoder\.up_blocks\.(\d)\.(.*)", name):
        number, rest = int(match[1]) - 1, match[2]
        name = f"vae/decoder.up_blocks.{number // 2}.{'' if number % 2 else 'upsamplers.0.'}{rest}"
    component, _, within = name.partition("/")
    return component, within


@functools.cache
def manifest(name: str) -> dict[str, Any]:
    with gzip.open(MANIFESTS / f"{name}.json.gz", "rt") as file:
        return json.load(file)  # type: ignore[no-any-return]


@functools.cache
def published_configs() -> dict[str, Any]:
    return json.loads((MANIFESTS / "CONFIGS.json").read_text())  # type: ignore[no-any-return]


def write_sparse(name: str, path: Path, *, metadata: bool = True) -> Path:
    """A file with the published one's header and size, whose data are a hole: 46 GB in some hundred kilobytes."""
    listed = manifest(name)
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = {"config": json.dumps(listed["metadata_config"])}
    end = 0
    for key, tensor in sorted(listed["tensors"].items(), key=lambda item: (item[1]["dtype"] != "F32", item[0])):
        begin, end = end, end + math.prod(tensor["shape"]) * BYTES[tensor["dtype"]]
        header[key] = tensor | {"data_offsets": [begin, end]}
    write_raw(path, json.dumps(header, separators=(",", ":")).encode(), end)
    return path


def write_raw(path: Path, header: bytes, data_size: int) -> None:
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + data_size)


@functools.cache
def _published_names(family: Family) -> dict[tuple[str, str], str]:
    names = {translated(key): key for key in manifest(PUBLISHED[family])["tensors"] if key not in DROPPED}
    # The tiny vocoder's last layers have biases, which the published one's have not.
    for part, new in (("vocoder", "vocoder"), ("bwe_generator", "bwe_generator")):
        names[("vocoder", f"{new}.conv_out.bias")] = f"vocoder.{part}.conv_post.bias"
    return names


def tiny_tensors(bundle: Path, family: Family) -> dict[str, Tensor]:
    """The networks of a tiny bundle by published names, with the statistics that only the published file has."""
    names = _published_names(family)
    tensors = {
        names[component, name]: tensor
        for component in COMPONENTS
        for name, tensor in load_file(bundle / component / "diffusion_pytorch_model.safetensors").items()
    }
    if family == "ltx-2":
        tensors |= {key: torch.full((8,), 3.5) for key in DROPPED}
    return tensors


def tiny_config(bundle: Path, family: Family) -> dict[str, Any]:
    """The published metadata, with the tiny networks' settings where no shape tells them."""
    config = copy.deepcopy(manifest(PUBLISHED[family])["metadata_config"])
    settings = {name: json.loads((bundle / name / "config.json").read_text()) for name in COMPONENTS}
    transformer, vocoder = settings["transformer"], settings["vocoder"]
    _set_sizes(config, settings)
    for name in ("num_attention_heads", "audio_num_attention_heads"):
        config["transformer"][name] = transformer[name]
    config["transformer"]["connector_num_attention_heads"] = settings["connectors"][
        "video_connector_num_attention_heads"
    ]
    config["transformer"]["caption_channels"] = transformer["caption_channels"]
    if family == "ltx-2":
        _set_rates(config["vocoder"], vocoder, "")
    else:
        config["transformer"]["audio_connector_num_attention_heads"] = settings["connectors"][
            "audio_connector_num_attention_heads"
        ]
        _set_rates(config["vocoder"]["vocoder"], vocoder, "")
        _set_rates(config["vocoder"]["bwe"], vocoder, "bwe_")
        config["vocoder"]["bwe"]["win_size"] = vocoder["window_length"]
    return config  # type: ignore[no-any-return]


def _set_sizes(config: Any, settings: Mapping[str, Any]) -> None:
    """The sizes that the shapes tell, which the metadata tell as well."""
    config["transformer"]["num_layers"] = settings["transformer"]["num_layers"]
    config["transformer"]["connector_num_layers"] = settings["connectors"]["video_connector_num_layers"]
    for side, layers in (("encoder", "layers_per_block"), ("decoder", "decoder_layers_per_block")):
        stacks = [options for kind, options in config["vae"][f"{side}_blocks"] if kind == "res_x"]
        for options, count in zip(stacks, settings["vae"][layers], strict=True):
            options["num_layers"] = count
    audio = config["audio_vae"]["model"]["params"]["ddconfig"]
    audio |= {name: settings["audio_vae"][name] for name in ("ch_mult", "num_res_blocks")}


def _set_rates(said: dict[str, Any], settings: Mapping[str, Any], prefix: str) -> None:
    said["upsample_rates"] = settings[f"{prefix}upsample_factors"]
    said["resblock_kernel_sizes"] = settings[f"{prefix}resnet_kernel_sizes"]
    said["resblock_dilation_sizes"] = settings[f"{prefix}resnet_dilations"]


def write_bundle(
    folder: Path,
    bundle: Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any] | None,
    **manifest_fields: Any,
) -> Path:
    """A bundle in ``folder`` with ``tensors`` as its checkpoint, and all else as in the tiny ``bundle``."""
    folder.mkdir()
    for part in bundle.iterdir():
        if part.is_dir() and part.name not in COMPONENTS:
            (folder / part.name).symlink_to(part)
        elif part.is_file():
            shutil.copy(part, folder)
    metadata = {} if config is None else {"config": json.dumps(config)}
    save_file(dict(tensors), folder / "checkpoint.safetensors", metadata=metadata)
    data = json.loads((bundle / "stillmotion.json").read_text())
    data |= {"checkpoint": "checkpoint.safetensors"} | manifest_fields
    (folder / "stillmotion.json").write_text(json.dumps(data))
    return folder


def copied(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle that may be changed."""
    return Path(shutil.copytree(bundle, folder, symlinks=True))


def with_published_vae(bundle: Path, folder: Path) -> Path:
    """A copy of the tiny LTX-2.3 bundle whose video decoder's widths are in the published ratios.

    They are 1024, 512, 512, 256, 128 from the latents on; other ratios need layers that no published file has.
    """
    copied(bundle, folder)
    config = json.loads((folder / "vae" / "config.json").read_text())
    settings = {name: value for name, value in config.items() if name[0] != "_"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        vae = AutoencoderKLLTX2Video(**settings | {"decoder_block_out_channels": (8, 16, 16, 32)})
    vae.latents_mean.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    vae.latents_std.uniform_(0.8, 1.2, generator=torch.Generator().manual_seed(3))
    vae.save_pretrained(folder / "vae")
    return folder


def hashed(key: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Values that only this name gives."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "little")
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
