"""A pass that stops after the first block where the rest would add what it added before.

The first block's change of the tokens tells how much the rest will differ: where it is nearly the change of the last
whole pass, that pass's change by all other blocks is added again and they are not run. Video and sound are two streams
of the same blocks, so both must have stayed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Streams = tuple[Tensor, Tensor]


class BlockCache:
    """Remembers one kind of pass over the steps of a run. The first sample of a batch is the one it is about.

    ``threshold``: mean absolute difference of the first block's change, relative to the mean absolute change, below
    which the rest is not run; 0 never skips anything.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._first: Streams | None = None
        self._rest: Streams | None = None
        self.skips = 0

    @contextmanager
    def watching(self, transformer: Any, *, may_skip: bool) -> Iterator[None]:
        """While this lasts, passes of ``transformer`` are remembered or, where ``may_skip``, cut short."""
        blocks = transformer.transformer_blocks
        transformer.transformer_blocks = nn.ModuleList([_Whole(blocks, self, may_skip=may_skip)])
        try:
            yield
        finally:
            transformer.transformer_blocks = blocks

    def clear(self) -> None:
        self._first = self._rest = None

    def saved(self, first: Streams) -> Streams | None:
        """The change by all blocks but the first, where ``first``, the first block's, is nearly the last one's."""
        if not self._threshold or self._first is None or self._rest is None:
            return None
        differences = [_relative(now, before) for now, before in zip(first, self._first, strict=True)]
        if float(torch.stack(differences).max()) >= self._threshold:
            return None
        self.skips += 1
        return self._rest

    def keep(self, first: Streams, rest: Streams) -> None:
        self._first, self._rest = first, rest


class _Whole(nn.Module):
    """All blocks as one."""

    def __init__(self, blocks: Any, cache: BlockCache, *, may_skip: bool) -> None:
        super().__init__()
        self._blocks, self._cache, self._may_skip = blocks, cache, may_skip

    def forward(self, hidden_states: Tensor, audio_hidden_states: Tensor, **rest: Any) -> Streams:
        first, *others = self._blocks
        given = (hidden_states, audio_hidden_states)
        begun = first(hidden_states=hidden_states, audio_hidden_states=audio_hidden_states, **rest)
        change = _change(given, begun)
        if self._may_skip and (saved := self._cache.saved(change)):
            return begun[0] + saved[0], begun[1] + saved[1]
        video, audio = begun
        for block in others:
            video, audio = block(hidden_states=video, audio_hidden_states=audio, **rest)
        self._cache.keep(change, _change(begun, (video, audio)))
        return video, audio


def _change(before: Streams, after: Streams) -> Streams:
    """Of the first sample; new tensors, so that the batch is not kept alive."""
    return after[0][:1] - before[0][:1], after[1][:1] - before[1][:1]


def _relative(now: Tensor, before: Tensor) -> Tensor:
    return (now - before).abs().mean() / before.abs().mean()
