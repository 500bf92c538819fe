"""The text side of a small bundle, in the classes of a real one: Gemma's special tokens, and a Gemma 3 of any size."""

from tokenizers import Tokenizer, decoders, processors
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<image_soft_token>", "<start_of_image>", "<end_of_image>")


def padded_left(tokenizer: Tokenizer, longest: int) -> PreTrainedTokenizerFast:
    """A byte-level ``tokenizer`` that knows ``SPECIAL`` as a bundle's: texts begin with a mark and are padded before
    it, up to ``longest`` tokens."""
    tokenizer.decoder = decoders.ByteLevel()
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
        model_max_length=longest,
    )


def small_gemma(
    tokenizer: PreTrainedTokenizerFast, *, width: int, layers: int, heads: int, head_dim: int, sliding_window: int
) -> Gemma3ForConditionalGeneration:
    """Random weights from the global generator; its picture tower is there because the class has one, as small as it
    can be."""
    token = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    return Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config={
                "vocab_size": len(tokenizer),
                "hidden_size": width,
                "intermediate_size": 2 * width,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "num_key_value_heads": 1,
                "head_dim": head_dim,
                "max_position_embeddings": 2048,
                "sliding_window": sliding_window,
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
    )
