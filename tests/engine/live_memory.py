"""How much memory a computation holds at its worst moment: every storage counted, on the meta device."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")


class _FusedAttention(TorchFunctionMode):
    """The meta device computes attention in parts, with a matrix of tokens x tokens; no kernel on a device does."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not functional.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        query, _, value = args[:3] if args else (kwargs[name] for name in ("query", "key", "value"))
        return torch.empty(*query.shape[:-1], value.shape[-1], dtype=query.dtype, device=query.device)


class _Live(TorchDispatchMode):
    def __init__(self, weights: nn.Module) -> None:
        super().__init__()
        self._weights = [tensor.untyped_storage() for tensor in (*weights.parameters(), *weights.buffers())]
        self._known = {storage._cdata for storage in self._weights}
        self._alive: dict[int, weakref.ref[Any]] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or key in self._alive:
            return

        def gone(_: Any) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def peak_bytes(network: nn.Module, compute: Callable[[], object]) -> int:
    """Bytes that ``compute`` holds at once, but for the weights of ``network``."""
    with torch.no_grad(), _FusedAttention(), _Live(network) as live:
        compute()
    return live.peak


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(*shape, device=META, dtype=dtype)
