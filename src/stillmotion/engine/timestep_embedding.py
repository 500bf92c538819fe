"""Modulation by the noise level, computed once per level instead of once per token.

A held token is at a noise level of its own, so the network takes a timestep for every token and modulates each token by
nine vectors (six in LTX-2) that it computes from it. But tokens are held in runs, a whole frame at one strength, so
there are one to three levels. Left alone, the network would compute the same nine vectors for each of 14080 tokens, and
add each block's own to all of them: 1 GB written and 2 GB read per block and pass in bf16 at 1280x704 and 121 frames,
150 GB per pass. Here the vectors stay as few as the levels until they meet the tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Runs:
    """Consecutive tokens at one noise level: the mask value of each run, (runs,), and how many tokens it has."""

    mask: Tensor
    lengths: tuple[int, ...]


def runs_of(mask: Tensor) -> Runs:
    """The runs of a conditioning mask (1, tokens, 1)."""
    values, lengths = torch.unique_consecutive(mask.flatten(), return_counts=True)
    return Runs(values, tuple(lengths.tolist()))


class RunTimestepEmbedding(nn.Module):
    """Stands in for the video's timestep embedding: takes one timestep for each run, and answers for all tokens.

    ``by_token`` writes the modulation out for every token, as the network itself would: for compiled blocks, whose
    kernels read it once.
    """

    def __init__(self, module: Any, lengths: tuple[int, ...], *, by_token: bool) -> None:
        super().__init__()
        self.module, self._lengths, self._by_token = module, lengths, by_token

    def forward(self, timestep: Tensor, *, batch_size: int, hidden_dtype: torch.dtype) -> Any:
        modulation, embedded = self.module(timestep, batch_size=batch_size, hidden_dtype=hidden_dtype)
        if len(self._lengths) == 1:  # one level for all: what is computed once is broadcast
            return modulation, embedded
        each = Modulation(modulation.unflatten(0, (batch_size, -1)), self._lengths)
        modulation = each.written_out() if self._by_token else each
        return modulation, Modulation(embedded.unflatten(0, (batch_size, -1)), self._lengths).written_out()


class Modulation:
    """Stands in for a tensor (batch, tokens, ...) whose rows are equal within each run of tokens.

    ``rows``: (batch, runs, ...). It can do what a block does with its modulation, with the very same arithmetic on each
    element: split it into vectors, add the block's own, and scale and shift tokens by them.
    """

    def __init__(self, rows: Tensor, lengths: tuple[int, ...]) -> None:
        self.rows, self._lengths = rows, lengths
        self.device = rows.device
        self.shape = torch.Size((len(rows), sum(lengths), *rows.shape[2:]))

    def size(self, dim: int) -> int:
        return self.shape[dim]

    def view(self, *shape: int) -> Self:
        return self.reshape(*shape)

    def reshape(self, batch: int, tokens: int, *rest: int) -> Self:
        return self._like(self.rows.reshape(batch, len(self._lengths), *rest))

    def unbind(self, dim: int) -> tuple[Self, ...]:
        return tuple(self._like(rows) for rows in self.rows.unbind(dim))

    def __radd__(self, other: Tensor | int) -> Any:
        """``tokens + self`` for tokens (batch, tokens, channels); else a table or a number added to every row."""
        if isinstance(other, Tensor) and other.ndim == 3:
            return self._on_tokens(torch.add, other)
        return self._like(other + self.rows)

    def __rmul__(self, tokens: Tensor) -> Tensor:
        return self._on_tokens(torch.mul, tokens)

    def written_out(self) -> Tensor:
        """The tensor that this stands for."""
        runs = zip(self.rows.unbind(1), self._lengths, strict=True)
        return torch.cat([row[:, None].expand(-1, length, *row.shape[1:]) for row, length in runs], dim=1)

    def _on_tokens(self, operation: Callable[..., Tensor], tokens: Tensor) -> Tensor:
        result = torch.empty_like(tokens, dtype=torch.result_type(tokens, self.rows))
        for index, (begin, end) in enumerate(pairwise(accumulate(self._lengths, initial=0))):
            operation(tokens[:, begin:end], self.rows[:, index, None], out=result[:, begin:end])
        return result

    def _like(self, rows: Tensor) -> Self:
        return type(self)(rows, self._lengths)
