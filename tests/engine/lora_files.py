"""LoRA files in every layout there is, of the same low-rank changes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

# The published names of the layers that diffusers calls otherwise, first elements only.
PUBLISHED = {
    "transformer": {
        "proj_in": "patchify_proj",
        "audio_proj_in": "audio_patchify_proj",
        "time_embed": "adaln_single",
        "audio_time_embed": "audio_adaln_single",
        "prompt_adaln": "prompt_adaln_single",
        "audio_prompt_adaln": "audio_prompt_adaln_single",
        "av_cross_attn_video_scale_shift": "av_ca_video_scale_shift_adaln_single",
        "av_cross_attn_audio_scale_shift": "av_ca_audio_scale_shift_adaln_single",
        "av_cross_attn_video_a2v_gate": "av_ca_a2v_gate_adaln_single",
        "av_cross_attn_audio_v2a_gate": "av_ca_v2a_gate_adaln_single",
    },
    "connectors": {
        "text_proj_in": "text_embedding_projection.aggregate_embed",
        "video_text_proj_in": "text_embedding_projection.video_aggregate_embed",
        "audio_text_proj_in": "text_embedding_projection.audio_aggregate_embed",
        "video_connector": "video_embeddings_connector",
        "audio_connector": "audio_embeddings_connector",
    },
}

Layer = tuple[str, str]
"""(transformer or connectors, diffusers' path)."""


@dataclass(frozen=True)
class Change:
    """``alpha / rank * up @ down`` for one layer."""

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return len(self.down)

    def added(self, scale: float) -> Tensor:
        """What it adds to the weight, in fp64."""
        return self.up.double() @ self.down.double() * (scale * self.alpha / self.rank)

    def folded(self) -> "Change":
        """The same in a layout that has no alpha; exact where alpha / rank is a power of two."""
        return Change(self.down, self.up * (self.alpha / self.rank), self.rank)


Changes = Mapping[Layer, Change]


def published(layer: Layer) -> str:
    network, name = layer
    first, _, rest = name.partition(".")
    if network == "connectors":
        rest = rest.replace("transformer_blocks.", "transformer_1d_blocks.")
    return ".".join(filter(None, (PUBLISHED[network].get(first, first), rest)))


def linear_layers(networks: Mapping[str, nn.Module]) -> dict[Layer, nn.Linear]:
    return {
        (network, name): layer
        for network, module in networks.items()
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
    }


def random_changes(
    layers: Mapping[Layer, nn.Linear],
    chosen: Sequence[Layer],
    *,
    seed: int,
    rank: int = 4,
    alpha: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Changes:
    generator = torch.Generator().manual_seed(seed)
    changes = {}
    for key in chosen:
        layer = layers[key]
        width = min(rank, layer.in_features, layer.out_features)
        changes[key] = Change(
            (torch.randn(width, layer.in_features, generator=generator) / 8).to(dtype),
            (torch.randn(layer.out_features, width, generator=generator) / 8).to(dtype),
            width if alpha is None else alpha,
        )
    return changes


def _official(changes: Changes, prefix: str = "diffusion_model.") -> dict[str, Tensor]:
    tensors = {}
    for key, change in changes.items():
        path = published(key)
        path = path if path.startswith("text_embedding_projection.") else prefix + path
        tensors |= {f"{path}.lora_A.weight": change.folded().down, f"{path}.lora_B.weight": change.folded().up}
    return tensors


def _diffusers(changes: Changes) -> dict[str, Tensor]:
    return _paired(changes, lambda key: ".".join(key), ("lora_A.weight", "lora_B.weight"))


def _paired(
    changes: Changes, path: Callable[[Layer], str], endings: tuple[str, str], *, alphas: bool = False
) -> dict[str, Tensor]:
    tensors = {}
    for key, change in changes.items():
        kept = change if alphas else change.folded()
        tensors |= {f"{path(key)}.{endings[0]}": kept.down, f"{path(key)}.{endings[1]}": kept.up}
        if alphas:
            tensors[f"{path(key)}.alpha"] = torch.tensor(float(change.alpha))
    return tensors


def _flat(path: str) -> str:
    return path.replace(".", "_")


_KOHYA = ("lora_down.weight", "lora_up.weight")
LAYOUTS: Mapping[str, Callable[[Changes], dict[str, Tensor]]] = {
    "official": _official,
    "official with the checkpoint's prefix": lambda changes: _official(changes, "model.diffusion_model."),
    "official without prefix": lambda changes: _official(changes, ""),
    "diffusers": _diffusers,
    "diffusers, older": lambda changes: _paired(
        changes, lambda key: ".".join(key), ("lora.down.weight", "lora.up.weight")
    ),
    "diffusers without prefix": lambda changes: _paired(
        changes, lambda key: key[1], ("lora_A.weight", "lora_B.weight")
    ),
    "peft": lambda changes: _paired(
        changes, lambda key: f"base_model.model.{key[1]}", ("lora_A.default.weight", "lora_B.default.weight")
    ),
    "peft of the published model, no adapter name": lambda changes: _paired(
        changes, lambda key: f"base_model.model.{published(key)}", ("lora_A.weight", "lora_B.weight")
    ),
    "kohya": lambda changes: _paired(changes, lambda key: f"lora_unet_{_flat(published(key))}", _KOHYA, alphas=True),
    "kohya of diffusers": lambda changes: _paired(
        changes, lambda key: f"lora_transformer_{_flat(key[1])}", _KOHYA, alphas=True
    ),
    "dotted with alpha": lambda changes: _paired(
        changes, lambda key: f"diffusion_model.{published(key)}", _KOHYA, alphas=True
    ),
}


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata=dict(metadata or {}))
    return path


def write_sparse(path: Path, tensors: Mapping[str, Any]) -> Path:
    """A file with the header of ``tensors`` (``{"dtype", "shape"}`` each) and a hole of their size."""
    header, offset = {}, 0
    for key, tensor in tensors.items():
        size = {"BF16": 2, "F32": 4}[tensor["dtype"]]
        for side in tensor["shape"]:
            size *= side
        header[key] = {**tensor, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    return path
