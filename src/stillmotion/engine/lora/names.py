"""What the networks' linear layers are called: by diffusers, in the published files, and flattened by trainers.

The names a file may use are derived from the layers that the network has, so that nothing is guessed from a file:
``a_b_c`` is a layer only if exactly one layer's path reads so without its dots.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any, Literal

from torch import nn

from stillmotion.engine.official.renames import CHECKPOINT, INDEX, Tree

Network = Literal["transformer", "connectors"]

_WRAPPERS = frozenset({"base_model", "model", "diffusion_model", "transformer", "connectors"})
"""Elements that files put before a path, in any number and order; no layer's path begins with one."""
_FLAT_PREFIXES = ("lora_unet_", "lora_transformer_", "lora_unet_diffusion_model_", "lora_unet_model_diffusion_model_")
_LOADED_WRAPPERS = frozenset({"_orig_mod", "base_layer"})
"""Elements that torch.compile and adapter libraries put into the paths of a loaded network."""


@dataclass(frozen=True, slots=True)
class Target:
    """A layer that a LoRA can change."""

    network: Network
    name: str
    """diffusers' path within the network."""
    module: nn.Linear


class Targets:
    """Every linear layer of the two networks, by all its names.

    Raises ValueError if a name would mean two layers, or if two layers share a weight: what is added for one would
    change the other.
    """

    def __init__(self, transformer: nn.Module, connectors: nn.Module) -> None:
        self._by_path: dict[str, Target] = {}
        self._by_flat: dict[str, Target] = {}
        weights: dict[int, str] = {}
        networks: tuple[tuple[Network, nn.Module], ...] = (("transformer", transformer), ("connectors", connectors))
        for network, module in networks:
            for target in _layers(network, module):
                other = weights.setdefault(id(target.module.weight), target.name)
                if other != target.name:
                    raise ValueError(f"{other} and {target.name} share a weight")
                for path in {target.name, published(network, target.name)}:
                    _claim(self._by_path, path, target)
                    _claim(self._by_flat, path.replace(".", "_"), target)

    def __len__(self) -> int:
        return len({id(target) for target in self._by_path.values()})

    def find(self, path: str) -> Target | None:
        """The layer that a file calls ``path``, if there is one."""
        elements = path.split(".")
        while elements and elements[0] in _WRAPPERS:
            elements = elements[1:]
        if len(elements) == 1:
            for prefix in _FLAT_PREFIXES:
                if elements[0].startswith(prefix) and elements[0].removeprefix(prefix) in self._by_flat:
                    return self._by_flat[elements[0].removeprefix(prefix)]
        return self._by_path.get(".".join(elements))


def published(network: Network, name: str) -> str:
    """The published LoRAs' path for diffusers' path of a linear layer; the same for one that their table lacks."""
    for original in _originals(CHECKPOINT, f"{network}.{name}.weight".split(".")):
        # LoRAs have the path without the checkpoint's prefixes.
        return ".".join(dropwhile(_WRAPPERS.__contains__, original[:-1]))
    return name


def _originals(tree: Tree, name: list[str]) -> Iterator[tuple[str, ...]]:
    """Names that ``tree`` turns into ``name``, both as elements."""
    if not tree:
        if not name:
            yield ()
        return
    for element, rename in tree.items():
        if rename.to is None:
            continue
        if rename.to == INDEX:
            becomes = [number for number in name[:1] if number.isdigit()] or [INDEX]
            element = becomes[0]
        else:
            becomes = rename.to.split(".") if rename.to else []
        if name[: len(becomes)] == becomes:
            for rest in _originals(rename.below, name[len(becomes) :]):
                yield element, *rest


def _layers(network: Network, module: Any) -> Iterator[Target]:
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            path = ".".join(element for element in name.split(".") if element not in _LOADED_WRAPPERS)
            yield Target(network, path, layer)


def _claim(names: dict[str, Target], name: str, target: Target) -> None:
    other = names.setdefault(name, target)
    if other is not target:
        raise ValueError(f"{name} would mean both {other.name} and {target.name}")
