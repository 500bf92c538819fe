"""A stack of blocks too large for the device: each comes just before it computes, the next one beside that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stillmotion.engine.residency.lanes import Lane, Mark

_ALIGNMENT = 256
"""Bytes, as CUDA's own allocations: kernels read whole vectors."""


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Parameters and buffers, each once."""
    return list({id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}.values())


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes that they take in a ``_Slot``."""
    return sum(_padded(tensor) for tensor in tensors)


class _Slot:
    """Memory on the device for one block at a time, written over and over: nothing is allocated on the way."""

    def __init__(self, size: int, lane: Lane) -> None:
        with torch.inference_mode(False):  # what is made in it could not be written outside it
            self._memory = torch.empty(size, dtype=torch.uint8, device=lane.device)
        self.free: Mark | None = lane.mark()
        """When what was in it last has been computed with."""

    def views(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """Places for ``tensors``, with their shapes and strides."""
        views, begin = [], 0
        for tensor in tensors:
            part = self._memory[begin : begin + tensor.numel() * tensor.element_size()]
            views.append(part.view(tensor.dtype).as_strided(tensor.size(), tensor.stride()))
            begin += _padded(tensor)
        return views


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A block in its slot, or on its way there."""

    index: int
    slot: _Slot
    views: list[Tensor]
    done: Mark | None


class BlockStream:
    """Brings ``blocks[first:]`` to the device one by one, for as long as it is open; their weights are at home.

    Blocks may be run in any order, and from any of them on, but come beside the work only in theirs. The earlier ones
    are on the device already. Two slots: for the block that computes, and for the next. Hooks do it, so whatever else
    is done to the blocks' forward or to the list of them goes on working; but compiled blocks, which take their weights
    to stay where they are, must not be streamed.
    """

    def __init__(self, blocks: Sequence[nn.Module], first: int, lane: Lane) -> None:
        self._lane, self._first = lane, first
        self._tensors = {index: tensors_of(block) for index, block in enumerate(blocks) if index >= first}
        self._homes: dict[int, list[Tensor]] = {}
        self._present: _Arrival | None = None
        self._coming: _Arrival | None = None
        largest = max(size_of(tensors) for tensors in self._tensors.values())
        self.size = min(2, len(self._tensors)) * largest
        """Bytes on the device."""
        self._slots = [_Slot(largest, lane) for _ in range(min(2, len(self._tensors)))]
        self._handles: list[RemovableHandle] = []
        for index, block in enumerate(blocks):
            self._handles.append(block.register_forward_pre_hook(_Before(self, index)))
            if index >= first:
                # Also where the block raises: a cancelled or failed run leaves every weight at home.
                self._handles.append(block.register_forward_hook(_After(self, index), always_call=True))

    def close(self) -> None:
        """Every weight is at home again, and the slots' memory is free."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self._present is not None:
            self.leave(self._present.index)
        if self._coming is not None:
            self._lane.settle()  # memory that is still written must not be given away
        self._coming = None
        self._slots.clear()

    def enter(self, index: int) -> None:
        """Before block ``index`` computes."""
        if index < self._first:
            self._expect(self._first)
            return
        if self._present is not None:  # one that was left without its hook
            self.leave(self._present.index)
        if self._coming is None or self._coming.index != index:
            self._coming = self._send(index)
        arrived, self._coming = self._coming, None
        self._lane.wait(arrived.done)
        self._homes[index] = [tensor.data for tensor in self._tensors[index]]
        _point(self._tensors[index], arrived.views)
        self._present = arrived
        self._expect(index + 1 if index + 1 in self._tensors else self._first)

    def leave(self, index: int) -> None:
        """After block ``index`` has computed."""
        if self._present is None or self._present.index != index:
            return
        _point(self._tensors[index], self._homes.pop(index))
        self._present.slot.free = self._lane.mark()
        self._present = None

    def _expect(self, index: int) -> None:
        """Has block ``index`` come, unless it is here or on its way; another one that was is forgotten."""
        here = (self._present, self._coming)
        if len(self._slots) > 1 and all(arrival is None or arrival.index != index for arrival in here):
            self._coming = self._send(index)

    def _send(self, index: int) -> _Arrival:
        if self._coming is not None:  # for nothing: its slot may be written once it is there
            self._coming.slot.free = self._coming.done
            slot = self._coming.slot
        else:
            slot = next(slot for slot in self._slots if self._present is None or slot is not self._present.slot)
        tensors = self._tensors[index]
        with torch.inference_mode(False), torch.no_grad():
            views = slot.views(tensors)
            done = self._lane.send(zip(views, (tensor.data for tensor in tensors), strict=True), slot.free)
        return _Arrival(index, slot, views, done)


class _Before:
    def __init__(self, stream: BlockStream, index: int) -> None:
        self._stream, self._index = stream, index

    def __call__(self, module: nn.Module, args: Any) -> None:
        self._stream.enter(self._index)


class _After:
    def __init__(self, stream: BlockStream, index: int) -> None:
        self._stream, self._index = stream, index

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self._stream.leave(self._index)


def _point(tensors: Iterable[Tensor], places: Iterable[Tensor]) -> None:
    with torch.inference_mode(False), torch.no_grad():
        for tensor, place in zip(tensors, places, strict=True):
            tensor.data = place


def _padded(tensor: Tensor) -> int:
    return -(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT
