"""The text side: a small tokenizer, a small Gemma 3 and the connectors, in the classes of a real bundle."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, PreTrainedTokenizerFast

from training.nano.prompts import corpus

WIDTH, LAYERS, HEADS = 96, 2, 2
VOCABULARY = 1024
LENGTHS = (64, 128, 256, 1024)
"""Text lengths that are trained. All are multiples of the registers that stand for padding."""

REGISTERS = 64
_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<image_soft_token>", "<start_of_image>", "<end_of_image>")


def build_tokenizer(seed: int, texts: int = 8000) -> PreTrainedTokenizerFast:
    """Byte pairs of the training's own prompts; any text has tokens, and case makes no difference."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        # "dolly_in" and "push-in" are read as the words they are made of.
        [pre_tokenizers.ByteLevel(add_prefix_space=True), pre_tokenizers.Punctuation("isolated")]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(texts, random.Random(seed)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=max(LENGTHS),
    )


def build_encoder(tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
    """Two layers of Gemma 3; its picture tower is there because the class has one, as small as it can be."""
    token = dict(zip(_SPECIAL, tokenizer.convert_tokens_to_ids(list(_SPECIAL)), strict=True))
    configuration = Gemma3Config(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": 1,
            "head_dim": WIDTH // HEADS,
            "max_position_embeddings": 2048,
            "sliding_window": 512,
            "pad_token_id": token["<pad>"],
            "bos_token_id": token["<bos>"],
            "eos_token_id": token["<eos>"],
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        image_token_index=token["<image_soft_token>"],
        boi_token_index=token["<start_of_image>"],
        eoi_token_index=token["<end_of_image>"],
    )
    torch.manual_seed(seed)
    encoder = Gemma3ForConditionalGeneration(configuration)
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
