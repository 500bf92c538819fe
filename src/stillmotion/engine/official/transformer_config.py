"""Configurations of the transformer and the text connectors, from the shapes of their tensors and the metadata.

What a shape tells is taken from it, so that a model of any size loads; what no shape tells is taken from the metadata,
and where these are silent it is as published (both generations agree in it but for the connectors' heads).
"""

from typing import Any

from stillmotion.engine.official.facts import Metadata, Shapes
from stillmotion.job import Family

_HEADS = 32
_CONNECTOR_HEADS = {"ltx-2": 30, "ltx-2.3": 32}
_TEXT_WIDTH = 3840
_MODULATED = 9
"""Rows of a block's table where the text's attention is modulated too; 6 where it is not."""


def transformer_config(
    shapes: Shapes, metadata: Metadata, *, text_width: int, compression: tuple[int, int]
) -> dict[str, Any]:
    """Arguments of LTX2VideoTransformer3DModel; ``compression``: the video VAE's, (frames, pixels of a side)."""
    video, audio = _stream(shapes, metadata, ""), _stream(shapes, metadata, "audio_")
    frames, pixels = compression
    longest = metadata.said("transformer.positional_embedding_max_pos", [20, 2048, 2048])
    longest_sound = metadata.said("transformer.audio_positional_embedding_max_pos", [20])
    if len(longest) != 3 or len(longest_sound) != 1:
        raise shapes.fault("has positions of other than 3 and 1 dimensions")
    block = "transformer_blocks.0"
    layers = shapes.count("transformer_blocks")
    return {
        **video,
        **audio,
        "num_layers": shapes.agreed("blocks", layers, metadata.said("transformer.num_layers", layers)),
        "vae_scale_factors": (frames, pixels, pixels),
        "pos_embed_max_pos": longest[0],
        "base_height": longest[1],
        "base_width": longest[2],
        "audio_pos_embed_max_pos": longest_sound[0],
        "audio_sampling_rate": metadata.said("audio_vae.model.params.sampling_rate", 16000),
        "audio_hop_length": metadata.said("audio_vae.preprocessing.stft.hop_length", 160),
        "activation_fn": metadata.said("transformer.activation_fn", "gelu-approximate"),
        "norm_eps": metadata.said("transformer.norm_eps", 1e-6),
        "caption_channels": text_width,
        "attention_bias": f"{block}.attn1.to_q.bias" in shapes,
        "attention_out_bias": f"{block}.attn1.to_out.0.bias" in shapes,
        "ff_bias": f"{block}.ff.net.0.proj.bias" in shapes,
        "audio_ff_bias": f"{block}.audio_ff.net.0.proj.bias" in shapes,
        **_rope(metadata),
        "timestep_scale_multiplier": metadata.said("transformer.timestep_scale_multiplier", 1000),
        "cross_attn_timestep_scale_multiplier": metadata.said("transformer.av_ca_timestep_scale_multiplier", 1000),
        "use_prompt_embeddings": "caption_projection.linear_1.weight" in shapes,
        # Spatio-temporal guidance perturbs attention; without this, which needs no weights, it would change nothing.
        "perturbed_attn": True,
    }


def _stream(shapes: Shapes, metadata: Metadata, prefix: str) -> dict[str, Any]:
    """The half of the transformer for the video (``prefix`` "") or the sound ("audio_")."""
    width, incoming = shapes.of(f"{prefix}proj_in.weight", 2)
    outgoing, _ = shapes.of(f"{prefix}proj_out.weight", 2)
    block = "transformer_blocks.0"
    gates = f"{block}.{prefix}attn1.to_gate_logits.weight"
    gated = gates in shapes
    heads = metadata.said(f"transformer.{prefix}num_attention_heads", _HEADS)
    if gated:  # one gate per head
        heads = shapes.of(gates, 2)[0]
    return {
        f"{prefix}in_channels": incoming,
        f"{prefix}out_channels": outgoing,
        f"{prefix}num_attention_heads": heads,
        f"{prefix}attention_head_dim": shapes.exactly(width, heads, f"{prefix}width"),
        f"{prefix}cross_attention_dim": shapes.of(f"{block}.{prefix}attn2.to_k.weight", 2)[1],
        f"{prefix}gated_attn": gated,
        f"{prefix}cross_attn_mod": shapes.of(f"{block}.{prefix}scale_shift_table", 2)[0] == _MODULATED,
    }


def _rope(metadata: Metadata) -> dict[str, Any]:
    """Rotary embedding, which transformer and connectors share."""
    return {
        "rope_theta": metadata.said("transformer.positional_embedding_theta", 10000.0),
        "rope_double_precision": metadata.said("transformer.frequencies_precision", "float64") == "float64",
        "rope_type": metadata.said("transformer.rope_type", "split"),
    }


def connectors_config(shapes: Shapes, metadata: Metadata, family: Family) -> dict[str, Any]:
    """Arguments of LTX2TextConnectors."""
    per_modality = "video_text_proj_in.weight" in shapes
    if per_modality:
        text_width = metadata.said("transformer.caption_channels", _TEXT_WIDTH)
        video, features = shapes.of("video_text_proj_in.weight", 2)
        audio, _ = shapes.of("audio_text_proj_in.weight", 2)
        widths = {"video_hidden_dim": video, "audio_hidden_dim": audio}
    else:
        text_width, features = shapes.of("text_proj_in.weight", 2)
        widths = {}
    longest = metadata.said("transformer.connector_positional_embedding_max_pos", [4096])
    return {
        "caption_channels": text_width,
        "text_proj_in_factor": shapes.exactly(features, text_width, "text features"),
        **_connector(shapes, metadata, family, "video"),
        **_connector(shapes, metadata, family, "audio"),
        "connector_rope_base_seq_len": longest[0] if longest else 0,
        **_rope(metadata),
        "per_modality_projections": per_modality,
        **widths,
        "proj_bias": "video_text_proj_in.bias" in shapes or "text_proj_in.bias" in shapes,
    }


def _connector(shapes: Shapes, metadata: Metadata, family: Family, modality: str) -> dict[str, Any]:
    registers, width = shapes.of(f"{modality}_connector.learnable_registers", 2)
    gates = f"{modality}_connector.transformer_blocks.0.attn1.to_gate_logits.weight"
    gated = gates in shapes
    heads = metadata.said("transformer.connector_num_attention_heads", _CONNECTOR_HEADS[family])
    layers = shapes.count(f"{modality}_connector.transformer_blocks")
    said = metadata.said("transformer.connector_num_layers", layers)
    if modality == "audio":
        heads = metadata.said("transformer.audio_connector_num_attention_heads", heads)
        said = metadata.said("transformer.audio_connector_num_layers", said)
    if gated:
        heads = shapes.of(gates, 2)[0]
    return {
        f"{modality}_connector_num_attention_heads": heads,
        f"{modality}_connector_attention_head_dim": shapes.exactly(width, heads, f"{modality} connector's width"),
        f"{modality}_connector_num_layers": shapes.agreed(f"{modality} blocks", layers, said),
        f"{modality}_connector_num_learnable_registers": registers,
        f"{modality}_gated_attn": gated,
    }
