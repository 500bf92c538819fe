"""Networks to put LoRAs on, four files for them, and what can be seen of the weights and of the memory."""

import copy
import gc
import random
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lora_files import LAYOUTS, Layer, linear_layers, random_changes, write
from torch import Tensor

from stillmotion.engine.components import Components
from stillmotion.engine.lora.adapters import Adapters

Networks = dict[str, Any]
Selection = Sequence[tuple[Path, float]]


def copied(components: Components) -> Networks:
    return {name: copy.deepcopy(getattr(components, name)) for name in ("transformer", "connectors")}


def layers_like(networks: Mapping[str, Any], *words: str) -> list[Layer]:
    return [key for key in linear_layers(networks) if all(word in ".".join(key) for word in words)]


def write_four(networks: Networks, folder: Path) -> list[Path]:
    """They touch: the video's self-attention; all attention; every layer, the connectors' too; the video's
    feed-forward."""
    chosen = [
        layers_like(networks, "transformer.", ".attn1."),
        layers_like(networks, "transformer.", "attn"),
        layers_like(networks, ""),
        layers_like(networks, "transformer.", ".ff."),
    ]
    layers = linear_layers(networks)
    return [
        write(
            folder / f"{index}.safetensors",
            LAYOUTS["official"](random_changes(layers, keys, seed=index, dtype=torch.bfloat16)),
        )
        for index, keys in enumerate(chosen)
    ]


def weights(networks: Networks) -> dict[Layer, Tensor]:
    return {key: layer.weight.detach().clone() for key, layer in linear_layers(networks).items()}


def pointers(networks: Networks) -> dict[Layer, int]:
    return {key: layer.weight.data_ptr() for key, layer in linear_layers(networks).items()}


def equal(left: Mapping[Layer, Tensor], right: Mapping[Layer, Tensor]) -> bool:
    return all(torch.equal(left[key], right[key]) for key in left)


def outputs(networks: Networks) -> dict[Layer, Tensor]:
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        return {
            key: layer(torch.randn(2, 3, layer.in_features, generator=generator))
            for key, layer in linear_layers(networks).items()
        }


class Twin:
    """A pristine copy of networks, to see what a selection makes of them by itself."""

    def __init__(self, networks: Networks) -> None:
        self.networks = {name: copy.deepcopy(network) for name, network in networks.items()}
        self._pristine = weights(self.networks)

    def with_loras(self, selection: Selection) -> Networks:
        for key, layer in linear_layers(self.networks).items():
            layer.weight.data = self._pristine[key].clone()
        Adapters(**self.networks).use(selection)
        return self.networks


def touched_bytes(networks: Networks) -> int:
    return sum(layer.weight.nbytes for layer in linear_layers(networks).values())


def extra_bytes(adapters: Adapters, networks: Networks) -> int:
    """Of all tensors that ``adapters`` keeps alive beside the networks' own."""
    found: dict[int, object] = {}
    waiting: list[object] = [adapters]
    while waiting:
        thing = waiting.pop()
        # Through these lies the rest of the interpreter.
        if id(thing) not in found and not isinstance(thing, (type, types.ModuleType, types.FunctionType)):
            found[id(thing)] = thing
            waiting += gc.get_referents(thing)
    tensors = [thing for thing in found.values() if isinstance(thing, Tensor)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    own = {tensor.data_ptr() for network in networks.values() for tensor in network.state_dict().values()}
    assert own & storages.keys(), "the networks are reachable, too"
    return sum(size for pointer, size in storages.items() if pointer not in own)


def random_selection(files: Sequence[Path], draw: random.Random) -> Selection:
    chosen = draw.sample(files, draw.randint(0, len(files)))
    return [(path, draw.choice((-0.5, 0.2, 0.5, 1.0))) for path in chosen]
