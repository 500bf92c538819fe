"""LoRA files for a tiny bundle: small random weights on the layers, and in the layout, of the published ones.

Two factors per layer, ``lora_A`` (rank, inputs) and ``lora_B`` (outputs, rank), in bf16 and without an alpha; a layer
narrower than the file's rank has its own width as rank.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stillmotion.engine.lora.names import Network, published

# Made for LTX-2, whose attention has no gates.
_VIDEO_LAYERS = re.compile(r"transformer_blocks\.\d+\.(attn1|attn2|ff)\.(?!to_gate_logits)")
_ATTENTION_AND_VIDEO_LAYERS = re.compile(r"transformer_blocks\.\d+\.(\w*attn\w*|ff)\.(?!to_gate_logits)")

_RANK = 8
_CHANGE = 0.03
"""Standard deviation of ``lora_B``. With ``lora_A``'s the sum of 8 products changes a layer by about a seventh of its
own weights' spread at scale 1: it shows, and three at once do not drown the model."""


def write_loras(folder: Path, transformer: nn.Module, connectors: nn.Module) -> Mapping[str, str]:
    """Writes the files into ``folder``; returns name to file as a manifest's ``loras``.

    ``distilled`` changes every linear layer of the transformer, and in LTX-2 the text projection; dolly_left the
    video's own layers; jib_up all attention and the video's feed-forward.
    """
    choices: dict[str, Callable[[str], bool]] = {
        "distilled": lambda name: True,
        "dolly_left": lambda name: _VIDEO_LAYERS.match(name) is not None,
        "jib_up": lambda name: _ATTENTION_AND_VIDEO_LAYERS.match(name) is not None,
    }
    files = {}
    for lora, chosen in choices.items():
        tensors = dict(_factors("transformer", "diffusion_model.", transformer, chosen))
        if lora == "distilled":
            tensors |= _factors("connectors", "", connectors, lambda name: name == "text_proj_in")
        files[lora] = f"lora-{lora}.safetensors"
        save_file(tensors, folder / files[lora], metadata={"license": "CC0-1.0"})
    return files


def _factors(network: Network, prefix: str, module: Any, chosen: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear) and chosen(name):
            rank = min(_RANK, layer.in_features, layer.out_features)
            path = prefix + published(network, name)
            down = torch.randn(rank, layer.in_features) / layer.in_features**0.5
            yield f"{path}.lora_A.weight", down.bfloat16()
            yield f"{path}.lora_B.weight", (torch.randn(layer.out_features, rank) * _CHANGE).bfloat16()
