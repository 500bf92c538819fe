"""Training of LoRAs on the finished transformer: one for each camera word, and the "distilled" one.

A camera LoRA sees clips of its move with prompts that say nothing of a camera, and so moves the camera by itself. The
distilled LoRA sees all moves, at the noise levels of the published eight-step schedule alone.
"""

import random
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from training.nano import joint_training, prompts, transformer
from training.nano.clips import Batch, Store
from training.nano.joint_training import Networks
from training.nano.loop import Phase, Segment, averaged, generator
from training.nano.moves import MOVES
from training.nano.presets import Preset
from training.nano.prompts import NORMAL

DISTILLED = "distilled"
RANK = 8
_SEED = 95_000_000
_LAYERS = re.compile(r"transformer_blocks\.\d+\.(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.(0\.proj|2))")
"""The video's own layers: sound stays with the prompt."""

_LEVELS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)


def name(lora: str) -> str:
    return f"lora-{lora}"


def phase(folder: Path, preset: Preset, seed: int, device: torch.device, phase_name: str) -> Phase:
    lora = phase_name.removeprefix("lora-")
    networks = joint_training.load(folder, preset, seed, device, average=True)
    networks.connectors.requires_grad_(False)
    adapter = add_adapter(networks.transformer, seed)
    # A direction is learned, not pictures: many small steps do more than few large ones.
    store = Store(folder, preset.buckets, seed, preset.tokens // 4)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=3e-3, betas=(0.9, 0.97), weight_decay=0.0)

    def step(number: int, segment: Segment) -> dict[str, Tensor | float]:
        if lora == DISTILLED:
            return joint_training.losses(
                networks, networks.transformer, store.batch("full", number), "full", seed + 1, number, levels=_LEVELS
            )
        return camera_losses(networks, store, MOVES.index(lora), seed, number)

    return Phase(phase_name, {"adapter": adapter}, [optimizer], step, decay=0.95)


class LowRank(nn.Module):
    """Adds the product of two factors to a layer's weight; nothing at first, because the second is 0."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        rank = min(RANK, layer.in_features, layer.out_features)
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


class Adapter(nn.Module):
    """The factors of every adapted layer, by the layer's name with its dots replaced."""

    def __init__(self, network: nn.Module, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.ModuleDict()
        self.names: dict[str, str] = {}
        chosen = [
            (name, layer)
            for name, layer in network.named_modules()
            if isinstance(layer, nn.Linear) and _LAYERS.fullmatch(name)
        ]
        for name, layer in chosen:
            low_rank = LowRank(layer)
            parametrize.register_parametrization(layer, "weight", low_rank)
            key = name.replace(".", "-")
            self.layers[key], self.names[key] = low_rank, name


def add_adapter(network: nn.Module, seed: int) -> Adapter:
    """Freezes the network and adds an adapter that changes nothing yet."""
    network.requires_grad_(False)
    return Adapter(network, seed)


def camera_losses(networks: Networks, store: Store, move: int, seed: int, number: int) -> dict[str, Tensor | float]:
    """A step on clips of the move at normal speed, whose prompts name no move."""
    batch = _only(store.batch("medium", number), move, store, number, seed)
    chosen = random.Random(f"{seed} {_SEED} {move} {number}")
    texts = ["" if chosen.random() < 0.2 else prompts.without_camera(chosen) for _ in batch.moves]
    return joint_training.losses(networks, networks.transformer, batch, "medium", seed + 2 + move, number, texts=texts)


def _only(batch: Batch, move: int, store: Store, number: int, seed: int) -> Batch:
    """As many clips of the batch's bucket that move so."""
    fitting = store.where(batch.bucket, move, NORMAL)
    picks = torch.randint(0, len(fitting), (len(batch.moves),), generator=generator(seed, _SEED, move, number))
    return store.read(batch.bucket, fitting[picks])


def factors(folder: Path, preset: Preset, seed: int, lora: str) -> Mapping[str, Tensor]:
    """The trained factors by the network's own layer names: ``LAYER.lora_A.weight``, ``LAYER.lora_B.weight``."""
    adapter = add_adapter(transformer.build(preset, seed), seed)
    adapter.load_state_dict(averaged(folder, name(lora), "adapter"))
    named: dict[str, Tensor] = {}
    for key, layer in adapter.names.items():
        low_rank = adapter.layers[key]
        assert isinstance(low_rank, LowRank)
        named[f"{layer}.lora_A.weight"], named[f"{layer}.lora_B.weight"] = low_rank.down.data, low_rank.up.data
    return named
