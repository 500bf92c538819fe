"""Which networks are on the device: those that are wanted, and of the others as many as have room beside the work."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stillmotion.engine.residency.blocks import BlockStream, size_of, tensors_of
from stillmotion.engine.residency.lanes import Lane

_WORTH = 4
"""Blocks that more must fit before those on the device are arranged anew: it copies all of them again."""


class Residency:
    """The networks of one engine, on their way between the host and ``lane.device``. Not for several threads.

    ``room``: bytes of the device for weights and work together. ``stacks``: the blocks of those networks that can come
    block by block. ``strict``: the least on the device instead of as much as fits: of networks those that are wanted
    (``swapped``), of stacks one block at a time (``streamed``). ``native``: the networks were loaded on the device;
    one that has to leave gets its home on the host then.
    """

    def __init__(
        self,
        networks: Mapping[str, Any],
        lane: Lane,
        *,
        room: int,
        stacks: Mapping[str, Sequence[nn.Module]],
        strict: bool = False,
        streamed: bool = False,
        native: bool = True,
    ) -> None:
        self._lane, self._room, self._strict, self._streamed = lane, room, strict, streamed
        self._networks = {
            name: _Network(network, stacks.get(name, ()), lane, native=native) for name, network in networks.items()
        }
        self._used: OrderedDict[str, None] = OrderedDict.fromkeys(networks)
        """Least recently used first."""

    @property
    def held(self) -> dict[str, int]:
        """Bytes of each network that is on the device, wholly or in part."""
        return {name: network.held for name, network in self._networks.items() if network.held}

    def is_native(self, name: str) -> bool:
        """Whether the network lies where it was loaded, on the device."""
        return self._networks[name].native

    def bring(self, *names: str, beside: int = 0) -> None:
        """Has these networks on the device until others are brought; ``beside``: bytes of the work with them.

        If it fails, every network is whole, at home or on the device.
        """
        for name in names:
            self._used.move_to_end(name)
        wanted = self._arranged(names, self._room - beside)
        needed = sum(self._networks[name].size(first) for name, first in wanted.items())
        left = [self._networks[name].leave for name in wanted if not self._networks[name].serves(wanted[name])]
        self._run([*self._leaving(names, self._room - beside - needed), *left])
        for name, first in wanted.items():
            self._networks[name].enter(first)

    def at_home(self, *names: str) -> None:
        """The weights of these networks lie where they may be changed, and what is on the device is forgotten.

        For those that are native that is the device itself.
        """
        self._run([self._networks[name].leave for name in names if not self._networks[name].native])

    def _run(self, leaving: Sequence[Callable[[], None]]) -> None:
        for leave in leaving:
            leave()
        if leaving:
            self._lane.trim()

    def _arranged(self, names: Sequence[str], room: int) -> dict[str, int | None]:
        """For each the first block that is not to stay on the device; ``None``: all of it stays."""
        wanted: dict[str, int | None] = dict.fromkeys(names)
        stacked = [name for name in names if self._networks[name].blocks]
        # The largest at last: what others leave of the room is shared out by the one that can use any part of it.
        for name in sorted(stacked, key=lambda name: self._networks[name].size(None)):
            rest = room - sum(self._networks[other].size(first) for other, first in wanted.items() if other != name)
            wanted[name] = 0 if self._streamed else self._networks[name].fitting(rest)
        return wanted

    def _leaving(self, wanted: Sequence[str], room: int) -> list[Callable[[], None]]:
        """Has others leave until no more than ``room`` bytes of them are held."""
        others = [name for name in self._used if name not in wanted and self._networks[name].held]
        held, leaving = sum(self._networks[name].held for name in others), []
        for name in others:
            if held <= room and not self._strict:
                break
            held -= self._networks[name].held
            leaving.append(self._networks[name].leave)
        return leaving


class _Network:
    """One network and where it is. Its tensors keep their sizes, but LoRAs may have them lie elsewhere."""

    def __init__(self, module: Any, blocks: Sequence[nn.Module], lane: Lane, *, native: bool) -> None:
        self._module, self._lane, self.native = module, lane, native
        self.blocks = list(blocks)
        self._whole, self._each = size_of(tensors_of(module)), [size_of(tensors_of(block)) for block in self.blocks]
        self._away: list[tuple[Tensor, Tensor]] = []
        """Tensors whose data is a copy on the device, with their data at home."""
        self._stream: BlockStream | None = None
        self._first: int | None = None
        self._here = native
        if not native:
            with torch.inference_mode(False), torch.no_grad():
                for tensor in tensors_of(module):  # one after the other: twice the whole network may be too much
                    tensor.data = lane.prepared(tensor.data)

    @property
    def held(self) -> int:
        return self.size(self._first) if self._here else 0

    def size(self, first: int | None) -> int:
        """Bytes on the device with the blocks from ``first`` on streamed."""
        if first is None:
            return self._whole
        streamed = self._each[first:]
        return self._whole - sum(streamed) + min(2, len(streamed)) * max(streamed)

    def fitting(self, room: int) -> int | None:
        """The most leading blocks that can stay within ``room``; ``None``: all can."""
        if self.size(None) <= room:
            return None
        return max((first for first in range(len(self.blocks)) if self.size(first) <= room), default=0)

    def serves(self, first: int | None) -> bool:
        """Whether what is on the device is no more than ``first`` asks for, and not much less."""
        if not self._here or first is None or self._first is None:
            return self._here and first == self._first
        return self._first <= first < self._first + _WORTH

    def enter(self, first: int | None) -> None:
        if self.serves(first):
            return
        with torch.inference_mode(False), torch.no_grad():
            if first is None:
                self._copy(tensors_of(self._module))
            else:
                streamed = {id(tensor) for block in self.blocks[first:] for tensor in tensors_of(block)}
                self._copy([tensor for tensor in tensors_of(self._module) if id(tensor) not in streamed])
        self._here, self._first = True, first
        if first is not None:
            try:
                self._stream = BlockStream(self.blocks, first, self._lane)
            except BaseException:
                self.leave()
                raise

    def leave(self) -> None:
        """Every weight is at home; what was on the device is forgotten."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        with torch.inference_mode(False), torch.no_grad():
            if self.native:
                _place([(tensor, self._lane.home(tensor.data)) for tensor in tensors_of(self._module)])
                self.native = False
            # Copies may still be on their way, and homes may be written from now on.
            self._lane.settle()
            _place(self._away)
        self._away, self._here, self._first = [], False, None

    def _copy(self, tensors: Sequence[Tensor]) -> None:
        homes = [tensor.data for tensor in tensors]
        copies = [torch.empty_like(home, device=self._lane.device) for home in homes]
        done = self._lane.send(zip(copies, homes, strict=True), self._lane.mark())
        self._lane.wait(done)
        self._away = list(zip(tensors, homes, strict=True))
        _place(list(zip(tensors, copies, strict=True)))


def _place(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    for tensor, data in pairs:
        tensor.data = data
