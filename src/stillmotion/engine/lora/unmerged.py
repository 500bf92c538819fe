"""LoRAs beside the weights, for where the weights cannot be written: each layer adds ``B (A x)`` to its output.

It costs ``rank * (inputs + outputs)`` multiplications for each token of each layer, a fifth more work for a file of
rank 384, and the memory of the factors; but neither a second copy of a weight nor weights that can be cast to.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stillmotion.engine.lora.merge import MERGEABLE, Term
from stillmotion.engine.lora.names import Target


class LowRank:
    """A forward hook that adds all terms of one layer, as a single pair of factors."""

    def __init__(self, down: Tensor, up: Tensor, weights: Tensor) -> None:
        self._down, self._up, self._weights = down, up, weights

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        states: Tensor = args[0]
        # The weights go on the narrow middle: the factors stay as exact as the file has them.
        middle = nn.functional.linear(states, self._as(states, self._down)) * self._as(states, self._weights)
        # One product and sum, whose accumulator is fp32 whatever the dtype.
        total = torch.addmm(output.flatten(end_dim=-2), middle.flatten(end_dim=-2), self._as(states, self._up).t())
        return total.view_as(output)

    @staticmethod
    def _as(states: Tensor, factor: Tensor) -> Tensor:
        return factor.to(device=states.device, dtype=states.dtype, non_blocking=True)


class Hooks:
    """The hooks that are on the networks' layers.

    ``keep_bytes``: memory for factors where the layers are; more than that waits on the host and comes at each call.
    """

    def __init__(self, *, keep_bytes: int, device: torch.device | None) -> None:
        self._keep_bytes, self._device = keep_bytes, device
        self._handles: list[RemovableHandle] = []

    def install(self, targets: Mapping[Target, Sequence[Term]]) -> None:
        """Replaces all hooks. If a file cannot be read, none is left."""
        self.clear()
        size = sum(
            term.file.size(target) * _dtype(target).itemsize for target, terms in targets.items() for term in terms
        )
        hooks = {target: self._hook(target, terms, size <= self._keep_bytes) for target, terms in targets.items()}
        self._handles = [target.module.register_forward_hook(hook) for target, hook in hooks.items()]

    def clear(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, target: Target, terms: Sequence[Term], resident: bool) -> LowRank:
        cpu = torch.device("cpu")
        factors = [term.file.factors(target, cpu, _dtype(target)) for term in terms]
        down = torch.cat([down for down, _ in factors])
        up = torch.cat([up for _, up in factors], dim=1)
        weights = torch.cat(
            [
                torch.full((len(down),), term.weight(target), dtype=torch.float32)
                for term, (down, _) in zip(terms, factors, strict=True)
            ]
        )
        device = self._device or target.module.weight.device
        return LowRank(*(_placed(tensor, device, resident) for tensor in (down, up, weights)))


def _dtype(target: Target) -> torch.dtype:
    """Of the factors; weights in 8 bits are computed with in bf16."""
    dtype = target.module.weight.dtype
    return dtype if dtype in MERGEABLE else torch.bfloat16


def _placed(tensor: Tensor, device: torch.device, resident: bool) -> Tensor:
    if resident:
        return tensor.to(device)
    return tensor.pin_memory() if device.type == "cuda" else tensor
