"""The published names of LTX-2's and LTX-2.3's tensors, and diffusers' names for the same tensors, as a table.

Only names differ between the two: no tensor is split, merged, transposed or reshaped. A name is a path of elements
between dots. The table is a tree along that path, so an element is only ever matched as a whole and in its place:
``adaln_single`` is part of longer elements, ``ups`` of ``upsample``, and LTX-2.3's ``vocoder.vocoder.`` begins with one
prefix, not two. One table serves both generations: what a file must have beyond being known here, its own configuration
says (networks.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

INDEX = "N."
"""Stands for any number, which stays as it is; no element of a name has a dot."""


@dataclass(frozen=True, slots=True)
class Rename:
    """What becomes of one element of a name, and of those that may follow it (none: the name ends)."""

    to: str | None
    """New element, or several with dots between; "": the element goes; ``None``: the tensor is not used."""
    below: "Tree"


Tree = Mapping[str, Rename]


def _kept(*elements: str, below: Tree | None = None) -> Tree:
    return {element: Rename(element, below or {}) for element in elements}


def _moved(below: Tree | None = None, **elements: str) -> Tree:
    return {element: Rename(to, below or {}) for element, to in elements.items()}


def _within(prefix: str, tree: Tree) -> Tree:
    return {element: Rename(f"{prefix}.{rename.to}", rename.below) for element, rename in tree.items()}


def _indexed(below: Tree) -> Tree:
    return {INDEX: Rename(INDEX, below)}


_WEIGHT = _kept("weight")
_LINEAR = _kept("weight", "bias")
_CAUSAL_CONV = _kept("conv", below=_LINEAR)

_ATTENTION = {
    **_kept("to_q", "to_k", "to_v", "to_gate_logits", below=_LINEAR),
    **_kept("to_out", below=_kept("0", below=_LINEAR)),
    **_moved(_WEIGHT, q_norm="norm_q", k_norm="norm_k"),
}
_FEED_FORWARD = _kept("net", below={**_kept("0", below=_kept("proj", below=_LINEAR)), **_kept("2", below=_LINEAR)})
_TWO_LAYERS = _kept("linear_1", "linear_2", below=_LINEAR)
_MODULATION = {
    **_kept("emb", below=_kept("timestep_embedder", below=_TWO_LAYERS)),
    **_kept("linear", below=_LINEAR),
}

_TRANSFORMER_BLOCK = {
    **_kept("attn1", "attn2", "audio_attn1", "audio_attn2", below=_ATTENTION),
    **_kept("audio_to_video_attn", "video_to_audio_attn", below=_ATTENTION),
    **_kept("ff", "audio_ff", below=_FEED_FORWARD),
    **_kept("scale_shift_table", "audio_scale_shift_table"),
    **_kept("prompt_scale_shift_table", "audio_prompt_scale_shift_table"),
    **_moved(
        scale_shift_table_a2v_ca_video="video_a2v_cross_attn_scale_shift_table",
        scale_shift_table_a2v_ca_audio="audio_a2v_cross_attn_scale_shift_table",
    ),
}
TRANSFORMER: Tree = {
    **_moved(_LINEAR, patchify_proj="proj_in", audio_patchify_proj="audio_proj_in"),
    **_kept("proj_out", "audio_proj_out", below=_LINEAR),
    **_moved(
        _MODULATION,
        adaln_single="time_embed",
        audio_adaln_single="audio_time_embed",
        prompt_adaln_single="prompt_adaln",
        audio_prompt_adaln_single="audio_prompt_adaln",
        av_ca_video_scale_shift_adaln_single="av_cross_attn_video_scale_shift",
        av_ca_audio_scale_shift_adaln_single="av_cross_attn_audio_scale_shift",
        av_ca_a2v_gate_adaln_single="av_cross_attn_video_a2v_gate",
        av_ca_v2a_gate_adaln_single="av_cross_attn_audio_v2a_gate",
    ),
    **_kept("caption_projection", "audio_caption_projection", below=_TWO_LAYERS),
    **_kept("scale_shift_table", "audio_scale_shift_table"),
    **_kept("transformer_blocks", below=_indexed(_TRANSFORMER_BLOCK)),
}

_CONNECTOR = {
    **_kept("learnable_registers"),
    **_moved(
        _indexed({**_kept("attn1", below=_ATTENTION), **_kept("ff", below=_FEED_FORWARD)}),
        transformer_1d_blocks="transformer_blocks",
    ),
}
_CONNECTORS = _moved(
    _CONNECTOR, video_embeddings_connector="video_connector", audio_embeddings_connector="audio_connector"
)
_TEXT_PROJECTIONS = _moved(
    _LINEAR,
    aggregate_embed="text_proj_in",
    video_aggregate_embed="video_text_proj_in",
    audio_aggregate_embed="audio_text_proj_in",
)

_STATISTICS = {
    "mean-of-means": Rename("latents_mean", {}),
    "std-of-means": Rename("latents_std", {}),
    # LTX-2 19B only, and only in the video VAE: nothing reads them.
    "channel": Rename(None, {}),
    "mean-of-stds": Rename(None, {}),
    "mean-of-stds_over_std-of-means": Rename(None, {}),
}
_RESNETS = _moved(_indexed(_kept("conv1", "conv2", below=_CAUSAL_CONV)), res_blocks="resnets")
_RESAMPLER = _kept("conv", below=_CAUSAL_CONV)
# Stacks of resnets and the resamplers between them are numbered through; diffusers files each resampler with a stack.
_VIDEO_ENCODER = {
    **_kept("conv_in", "conv_out", below=_CAUSAL_CONV),
    "down_blocks": Rename(
        "",
        {
            "0": Rename("down_blocks.0", _RESNETS),
            "1": Rename("down_blocks.0.downsamplers.0", _RESAMPLER),
            "2": Rename("down_blocks.1", _RESNETS),
            "3": Rename("down_blocks.1.downsamplers.0", _RESAMPLER),
            "4": Rename("down_blocks.2", _RESNETS),
            "5": Rename("down_blocks.2.downsamplers.0", _RESAMPLER),
            "6": Rename("down_blocks.3", _RESNETS),
            "7": Rename("down_blocks.3.downsamplers.0", _RESAMPLER),
            "8": Rename("mid_block", _RESNETS),
        },
    ),
}
_VIDEO_DECODER = {
    **_kept("conv_in", "conv_out", below=_CAUSAL_CONV),
    "up_blocks": Rename(
        "",
        {
            "0": Rename("mid_block", _RESNETS),
            "1": Rename("up_blocks.0.upsamplers.0", _RESAMPLER),
            "2": Rename("up_blocks.0", _RESNETS),
            "3": Rename("up_blocks.1.upsamplers.0", _RESAMPLER),
            "4": Rename("up_blocks.1", _RESNETS),
            "5": Rename("up_blocks.2.upsamplers.0", _RESAMPLER),
            "6": Rename("up_blocks.2", _RESNETS),
            # LTX-2.3 only:
            "7": Rename("up_blocks.3.upsamplers.0", _RESAMPLER),
            "8": Rename("up_blocks.3", _RESNETS),
        },
    ),
}
_VIDEO_VAE = {
    **_kept("encoder", below=_VIDEO_ENCODER),
    **_kept("decoder", below=_VIDEO_DECODER),
    **_moved(_STATISTICS, per_channel_statistics=""),
}

_SPECTRUM_RESNET = _kept("conv1", "conv2", "nin_shortcut", below=_CAUSAL_CONV)
_SPECTRUM_ENDS = {
    **_kept("conv_in", "conv_out", below=_CAUSAL_CONV),
    **_kept("mid", below=_kept("block_1", "block_2", below=_SPECTRUM_RESNET)),
}
_SPECTRUM_STACK = _kept("block", below=_indexed(_SPECTRUM_RESNET))
_AUDIO_ENCODER = {
    **_SPECTRUM_ENDS,
    **_kept("down", below=_indexed({**_SPECTRUM_STACK, **_kept("downsample", below=_CAUSAL_CONV)})),
}
_AUDIO_DECODER = {
    **_SPECTRUM_ENDS,
    **_kept("up", below=_indexed({**_SPECTRUM_STACK, **_kept("upsample", below=_kept("conv", below=_CAUSAL_CONV))})),
}
_AUDIO_VAE = {
    **_kept("encoder", below=_AUDIO_ENCODER),
    **_kept("decoder", below=_AUDIO_DECODER),
    "per_channel_statistics": Rename("", {name: _STATISTICS[name] for name in ("mean-of-means", "std-of-means")}),
}

_ACTIVATION = {
    **_kept("act", below=_kept("alpha", "beta")),
    **_kept("upsample", below=_kept("filter")),
    **_kept("downsample", below=_moved(_kept("filter"), lowpass="")),
}
_WAVE_GENERATOR = {
    **_moved(_LINEAR, conv_pre="conv_in", conv_post="conv_out"),
    **_moved(_indexed(_LINEAR), ups="upsamplers"),
    **_moved(
        _indexed(
            {
                **_kept("convs1", "convs2", below=_indexed(_LINEAR)),
                **_kept("acts1", "acts2", below=_indexed(_ACTIVATION)),
            }
        ),
        resblocks="resnets",
    ),
    **_moved(_ACTIVATION, act_post="act_out"),
}
_VOCODER = {
    # LTX-2 has one generator, LTX-2.3 a second that extends the first one's bandwidth.
    **_WAVE_GENERATOR,
    **_kept("vocoder", "bwe_generator", below=_WAVE_GENERATOR),
    **_kept(
        "mel_stft",
        below={**_kept("mel_basis"), **_kept("stft_fn", below=_kept("forward_basis", "inverse_basis"))},
    ),
}

CHECKPOINT: Tree = {
    "model": Rename(
        "",
        {"diffusion_model": Rename("", {**_within("transformer", TRANSFORMER), **_within("connectors", _CONNECTORS)})},
    ),
    "text_embedding_projection": Rename("connectors", _TEXT_PROJECTIONS),
    **_kept("vae", below=_VIDEO_VAE),
    **_kept("audio_vae", below=_AUDIO_VAE),
    **_kept("vocoder", below=_VOCODER),
}
"""The single file of a generation; new names begin with the component's (manifest.COMPONENTS)."""

_LATENT_RESNETS = _indexed(_kept("conv1", "norm1", "conv2", "norm2", below=_LINEAR))
UPSAMPLER: Tree = {
    **_kept("initial_conv", "initial_norm", "final_conv", below=_LINEAR),
    **_kept("res_blocks", "post_upsample_res_blocks", below=_LATENT_RESNETS),
    **_kept(
        "upsampler",
        below={**_kept("0", "conv", below=_LINEAR), **_kept("blur_down", below=_kept("kernel"))},
    ),
}
"""The file of a latent upsampler, whose names are diffusers' own."""


class UnknownName(KeyError):
    """A name that the table does not have."""


def rename(tree: Tree, name: str) -> str | None:
    """diffusers' name of the tensor called ``name``; ``None``: it is not used. Raises UnknownName."""
    new: list[str] = []
    used = True
    for element in name.split("."):
        step = tree.get(element)
        if step is None and element.isascii() and element.isdigit() and str(int(element[:9])) == element:
            step = tree.get(INDEX)
        if step is None:
            raise UnknownName(name)
        if step.to is None:
            used = False
        elif step.to:
            new.append(element if step.to == INDEX else step.to)
        tree = step.below
    if tree:
        raise UnknownName(name)
    return ".".join(new) if used else None
