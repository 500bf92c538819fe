"""Prompts to the embeddings that steer the network."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Embedding:
    """One text as each modality reads it: (batch, tokens, channels of the modality)."""

    video: Tensor
    audio: Tensor


def encode(text: str, *, tokenizer: Any, text_encoder: Any, connectors: Any, max_sequence_length: int) -> Embedding:
    """Embeds ``text``, padded on the left (or cut on the right) to ``max_sequence_length`` tokens.

    Gemma's hidden states of every layer, the embedding included, go through the connectors. These replace the padding
    by learned registers, so every token of the result counts and the network needs no attention mask (which would
    also rule out the faster attention kernels).
    """
    tokens = tokenizer(
        text.strip(),
        padding="max_length",
        padding_side="left",
        max_length=max_sequence_length,
        truncation=True,
        return_tensors="pt",
    ).to(text_encoder.device)
    # The inner model: the head above it would compute 1024 x 262144 logits that nobody reads.
    states = text_encoder.model(
        input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True
    ).hidden_states
    video, audio, _ = connectors(torch.stack(states, dim=-1), tokens.attention_mask, padding_side="left")
    return Embedding(video, audio)
