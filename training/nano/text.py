"""The text side: a small tokenizer, a small Gemma 3 and the connectors, in the classes of a real bundle."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from stillmotion.engine.tiny_text import SPECIAL, padded_left, small_gemma
from training.nano.prompts import corpus

WIDTH, LAYERS, HEADS = 96, 2, 2
VOCABULARY = 1024
LENGTHS = (64, 128, 256, 1024)
"""Text lengths that are trained. All are multiples of the registers that stand for padding."""

REGISTERS = 64


def build_tokenizer(seed: int, texts: int = 8000) -> PreTrainedTokenizerFast:
    """Byte pairs of the training's own prompts; any text has tokens, and case makes no difference."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        # "dolly_in" and "push-in" are read as the words they are made of.
        [pre_tokenizers.ByteLevel(add_prefix_space=True), pre_tokenizers.Punctuation("isolated")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(texts, random.Random(seed)), trainer)
    return padded_left(tokenizer, max(LENGTHS))


def build_encoder(tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
    """Two layers of Gemma 3."""
    torch.manual_seed(seed)
    encoder = small_gemma(
        tokenizer, width=WIDTH, layers=LAYERS, heads=HEADS, head_dim=WIDTH // HEADS, sliding_window=512
    )
    with torch.no_grad():  # its own 0.02 makes all tokens nearly the same
        encoder.get_input_embeddings().weight.normal_(0, WIDTH**-0.5)
    return encoder


def build_connectors(seed: int) -> Any:
    torch.manual_seed(seed)
    connectors = LTX2TextConnectors(
        caption_channels=WIDTH,
        text_proj_in_factor=LAYERS + 1,
        video_connector_num_attention_heads=HEADS,
        video_connector_attention_head_dim=WIDTH // HEADS,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=REGISTERS,
        audio_connector_num_attention_heads=HEADS,
        audio_connector_attention_head_dim=WIDTH // HEADS,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=REGISTERS,
        connector_rope_base_seq_len=max(LENGTHS),
        rope_theta=100.0,
        rope_double_precision=False,
        rope_type="interleaved",
    )
    with torch.no_grad():
        for connector in (connectors.video_connector, connectors.audio_connector):
            connector.learnable_registers.mul_(0.1)
    return connectors


def hidden_states(tokenizer: Any, encoder: Any, prompts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
    """All layers' states (prompts, length, width, layers + 1), and the mask of what is not padding."""
    tokens = tokenizer(
        [prompt.strip() for prompt in prompts],
        padding="max_length",
        padding_side="left",
        max_length=length,
        truncation=True,
        return_tensors="pt",
    )
    read = encoder.model(
        input_ids=tokens.input_ids.to(encoder.device),
        attention_mask=tokens.attention_mask.to(encoder.device),
        output_hidden_states=True,
        use_cache=False,
    )
    return torch.stack(read.hidden_states, dim=-1), tokens.attention_mask.to(encoder.device)


def embed(tokenizer: Any, encoder: Any, connectors: Any, prompts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
    """What the transformer's video and audio halves read: (prompts, length, width) each."""
    states, mask = hidden_states(tokenizer, encoder, prompts, length)
    video, audio, _ = connectors(states, mask, padding_side="left")
    return video, audio
