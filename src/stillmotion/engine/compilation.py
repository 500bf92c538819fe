"""Compiling the network's blocks: one graph for all of them, their elementwise work fused."""

from typing import Any

import torch


def compile_blocks(transformer: Any, *, stg_block: int, backend: str = "inductor") -> None:
    """Has ``torch.compile`` run every block of ``transformer`` but ``stg_block``.

    Blocks are alike, so they share one graph for each way they are called; the first video of each takes a minute or
    more. The block that guidance perturbs stays as it is: it is perturbed by hooks on its attention, which a graph
    would not see, and it is one of 48. Output agrees to rounding. Compile after the weights have been cast and before
    the first call; hooks on whole blocks go on working, as it is their ``forward`` that is compiled.
    """
    for index, block in enumerate(transformer.transformer_blocks):
        if index != stg_block:
            block.forward = torch.compile(block.forward, fullgraph=True, backend=backend)
            block.compiled = True  # offloading replaces ``forward`` too, so that it cannot tell


def is_compiled(transformer: Any) -> bool:
    return any(getattr(block, "compiled", False) for block in transformer.transformer_blocks)
