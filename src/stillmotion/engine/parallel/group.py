"""The processes that compute one job together."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

Parallel = Literal["guidance", "context"]
"""What the processes share out: the passes of a step, or the tokens of each pass."""

TIMEOUT = timedelta(minutes=10)
"""Of one exchange. A process that dies is seen at once by the others' keeper; this ends what nobody keeps."""


@dataclass(frozen=True, slots=True)
class Group:
    """This process's place among ``size`` that run in lockstep; ``rank`` 0 is the one that delivers."""

    rank: int
    size: int
    device: torch.device

    def agree(self, decision: bool) -> bool:
        """The first process's ``decision``, for all: whether to stop depends on when one asks."""
        told = torch.tensor([decision], dtype=torch.uint8, device=self.device)
        dist.broadcast(told, src=0)
        return bool(told.item())

    def broadcast(self, tensor: Tensor, source: int) -> Tensor:
        """``tensor`` of the process ``source``; the others pass one of the same shape and type to overwrite."""
        tensor = tensor.contiguous()
        dist.broadcast(tensor, src=source)
        return tensor


def join(rank: int, size: int, meeting: Path, device: torch.device) -> Group:
    """Joins the others, who name the same file ``meeting``; it must not exist before the first of them.

    NCCL between CUDA devices, gloo between CPUs. Returns once all are there; it lasts as long as the process.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=meeting.resolve().as_uri(),
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
    )
    return Group(rank, size, device)
