"""The arithmetic: ``W' = W + sum_i scale_i * alpha_i / rank_i * B_i A_i``."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stillmotion.engine.lora.match import LoraFile
from stillmotion.engine.lora.names import Target

MERGEABLE = frozenset({torch.float32, torch.bfloat16, torch.float16})
"""What a merged weight can be cast to without more than its own rounding."""

_BLOCK = 2**24
"""Most elements of a weight that are in fp32 at a time, 64 MiB: the widest layer has 7e8, which would be 2.9 GB."""


@dataclass(frozen=True, slots=True)
class Term:
    """One file at one scale, as it applies to a layer."""

    file: LoraFile
    scale: float

    def weight(self, target: Target) -> float:
        """What ``B A`` is multiplied with."""
        return self.scale * self.file.pairs[target].factor


def merge(target: Target, pristine: Tensor, terms: Sequence[Term], into: Tensor, device: torch.device) -> None:
    """Writes ``pristine`` plus ``terms`` to ``into``, which may be the same tensor; summed in fp32 on ``device``.

    The order of ``terms`` decides the last bits.
    """
    factors = [(term.weight(target), *term.file.factors(target, device, torch.float32)) for term in terms]
    rows = max(1, _BLOCK // pristine.shape[1])
    for start in range(0, pristine.shape[0], rows):
        block = slice(start, start + rows)
        total = torch.empty(pristine[block].shape, dtype=torch.float32, device=device).copy_(pristine[block])
        for weight, down, up in factors:
            total.addmm_(up[block], down, alpha=weight)
        into[block].copy_(total)
