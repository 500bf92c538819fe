"""Weights stored in 8 bits, computed with in the activations' format: half the memory, at a loss of precision.

Each row of a weight is divided by a power of two and rounded to e4m3, which has 4 significant bits: off by at most 1/16
of the weight, or 2^-10 of the row's scale for weights close to 0. A power of two, so that scaling back is exact. The
first and last block, modulation, gates, norms and projections in and out stay as they are.
"""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

FORMAT = torch.float8_e4m3fn
_LARGEST = torch.finfo(FORMAT).max  # 448
_KEPT = ("to_gate_logits",)


class Float8Linear(nn.Linear):
    """A linear layer whose ``weight`` is ``FORMAT`` times ``scale``, one per row.

    It is never to be moved to another dtype, only to another device.
    """

    scale: Tensor

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """``linear`` in 8 bits; shares its bias."""
        layer = cls(linear.in_features, linear.out_features, bias=False, device="meta")
        layer.bias = linear.bias
        layer.register_buffer("scale", None)
        layer.store(linear.weight)
        return layer.train(linear.training)

    @torch.no_grad()
    def store(self, weight: Tensor) -> None:
        """Replaces the weight by (outputs, inputs) in any floating-point format. Raises ValueError if not finite."""
        largest = weight.float().abs().amax(dim=1, keepdim=True)
        if not bool(largest.isfinite().all()):
            raise ValueError("a weight is not finite")
        # Rows of zeros get any scale; the floor keeps the scale itself normal in bf16.
        scale = torch.exp2(torch.ceil(torch.log2(largest.clamp(min=2.0**-100) / _LARGEST)))
        self.weight = nn.Parameter((weight.float() / scale).to(FORMAT), requires_grad=False)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, self.weight.to(input.dtype) * self.scale.to(input.dtype), self.bias)


def cast_to_float8(transformer: Any) -> None:
    """Replaces the linear layers of all blocks but the first and last by ``Float8Linear``, in place.

    What is cast is what the weights are now: merge LoRAs before. Weights that are merged later go through
    ``Float8Linear.store``; writing to ``weight`` would lose the scale.
    """
    for block in transformer.transformer_blocks[1:-1]:
        for parent in list(block.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear and name not in _KEPT:
                    setattr(parent, name, Float8Linear.of(child))
