"""Prompts to the embeddings that steer the network, and the memory of those that were made."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CACHE_BYTES = 512 << 20
"""What a ``TextEmbedder`` remembers by default. 1024 tokens of 4096 and 2048 channels in bf16 are 12.6 MB: 42 texts."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """One text as each modality reads it: (batch, tokens, channels of the modality)."""

    video: Tensor
    audio: Tensor

    def to(self, device: torch.device) -> "Embedding":
        return Embedding(self.video.to(device), self.audio.to(device))

    @property
    def size(self) -> int:
        """Bytes."""
        return self.video.nbytes + self.audio.nbytes


def encode(text: str, *, tokenizer: Any, text_encoder: Any, connectors: Any, max_sequence_length: int) -> Embedding:
    """Embeds ``text``, padded on the left (or cut on the right) to ``max_sequence_length`` tokens.

    Gemma's hidden states of every layer, the embedding included, go through the connectors. These replace the padding
    by learned registers, so every token of the result counts and the network needs no attention mask (which would
    also rule out the faster attention kernels).

    One text at a time, although a negative prompt often follows: 49 hidden states of 1024 x 3840 in bf16 are 385 MB,
    which the connectors' normalisation holds several times over; a prefill of 1024 tokens fills a GPU by itself; and
    another batch size may round differently, so that a video would depend on which of its texts were cached.
    """
    tokens = tokenizer(
        text.strip(),
        padding="max_length",
        padding_side="left",
        max_length=max_sequence_length,
        truncation=True,
        return_tensors="pt",
    ).to(text_encoder.device)
    # The inner model: the head above it would compute 1024 x 262144 logits that nobody reads. Without use_cache=False
    # the keys and values of all layers, another 400 MB, would be kept for a next token that never comes.
    read = text_encoder.model(
        input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True, use_cache=False
    )
    states = torch.stack(read.hidden_states, dim=-1)
    del read  # the 385 MB that were just copied
    video, audio, _ = connectors(
        states.to(connectors.device), tokens.attention_mask.to(connectors.device), padding_side="left"
    )
    return Embedding(video, audio)


class TextEmbedder:
    """A bundle's tokenizer, text encoder and connectors, and the embeddings they made last.

    ``device``: where embeddings are wanted (``None``: where the connectors are). ``cache_bytes``: how much is kept, in
    the CPU's memory, where it competes with no weights: a hit costs a copy of 12.6 MB, a miss a pass through 12 billion
    parameters. 0 keeps nothing. Not to be shared between threads.
    """

    def __init__(
        self,
        *,
        tokenizer: Any,
        text_encoder: Any,
        connectors: Any,
        max_sequence_length: int,
        device: torch.device | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.max_sequence_length = max_sequence_length
        self._tokenizer, self._text_encoder, self._connectors = tokenizer, text_encoder, connectors
        self._device = device
        self._cache = _EmbeddingCache(cache_bytes)

    def embed(self, text: str, *, connectors_key: Hashable = "") -> Embedding:
        """The embedding of ``text``, bit for bit the same whether it was remembered or made now; only to be read.

        ``connectors_key``: names the weights that the connectors have at this moment; LoRAs may change them.
        """
        key = (text.strip(), connectors_key)
        device = self._device or self._connectors.device
        if (known := self._cache.get(key)) is not None:
            return known.to(device)
        made = encode(
            text,
            tokenizer=self._tokenizer,
            text_encoder=self._text_encoder,
            connectors=self._connectors,
            max_sequence_length=self.max_sequence_length,
        )
        self._cache.put(key, made.to(torch.device("cpu")))
        return made.to(device)

    def holds(self, text: str, *, connectors_key: Hashable = "") -> bool:
        """Whether ``embed`` would need none of the networks, which may then stay where they are."""
        return (text.strip(), connectors_key) in self._cache

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text``, the one that begins it included; ``embed`` reads the first ``max_sequence_length``."""
        return len(self._tokenizer(text.strip(), truncation=False, verbose=False).input_ids)

    def cut_note(self, name: str, text: str) -> str | None:
        """What to log of a text that is longer than the model reads; ``name``: what the text is."""
        count = self.count_tokens(text)
        if count <= self.max_sequence_length:
            return None
        return f"the {name} has {count} tokens, the model reads the first {self.max_sequence_length}"


class _EmbeddingCache:
    """The embeddings that were used last, up to a number of bytes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._size = 0
        self._items: OrderedDict[Hashable, Embedding] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._items

    def get(self, key: Hashable) -> Embedding | None:
        if key in self._items:
            self._items.move_to_end(key)
        return self._items.get(key)

    def put(self, key: Hashable, embedding: Embedding) -> None:
        if embedding.size > self._capacity:
            return
        self._items[key] = embedding
        self._size += embedding.size
        while self._size > self._capacity:
            _, oldest = self._items.popitem(last=False)
            self._size -= oldest.size
