"""Which tensor of a published file goes where, and which generation a file is of; from its header alone."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stillmotion.engine.manifest import COMPONENTS
from stillmotion.engine.official.header import Entry, Header
from stillmotion.engine.official.renames import CHECKPOINT, UPSAMPLER, Tree, UnknownName, rename
from stillmotion.errors import BundleError
from stillmotion.job import Family

FLOATS = ("F32", "F16", "BF16")
FP8 = "F8_E4M3"
_WEIGHT_SCALE, _INPUT_SCALE = "weight_scale", "input_scale"
_SHOWN = 3

_NEWER = "text_embedding_projection.video_aggregate_embed.weight"
_OLDER = "text_embedding_projection.aggregate_embed.weight"
_STRANGERS = (
    # A mark of each, as a whole element of a name; the newest generation has all marks of the one before it.
    (("keyframes_abs_pos_embedding",), "is an LTX-2.5 checkpoint; LTX-2 and LTX-2.3 are supported"),
    (("lora_A", "lora_B", "lora_up", "lora_down"), "is a LoRA, not a checkpoint: name it under loras"),
    (("post_upsample_res_blocks",), "is a latent upsampler, not a checkpoint: name it under upsamplers"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a tensor comes from. ``scale``: what its fp8 values are multiplied with, an F32 number of the file."""

    key: str
    entry: Entry
    scale: Entry | None = None


Placement = Mapping[str, Source]
"""diffusers' name to the tensor's place in the file."""


def generation(header: Header) -> Family:
    """Raises BundleError for a file that is no checkpoint of LTX-2 or LTX-2.3, with what it is or holds instead."""
    elements = {element for key in header.tensors for element in key.split(".")}
    for marks, what in _STRANGERS:
        if elements.intersection(marks):
            raise BundleError(f"{header.path} {what}")
    newer = _NEWER in header.tensors or "prompt_scale_shift_table" in elements
    older = _OLDER in header.tensors
    if newer and older:
        raise BundleError(f"{header.path} holds parts of both LTX-2 and LTX-2.3")
    if not newer and not older:
        raise BundleError(
            f"{header.path} is no LTX-2 or LTX-2.3 checkpoint: it has no text_embedding_projection, but "
            f"{_summary(header.tensors)}"
        )
    return "ltx-2.3" if newer else "ltx-2"


def place_checkpoint(header: Header) -> Mapping[str, Placement]:
    """Component to where each of its tensors comes from. Raises BundleError: an unknown key, an absent component."""
    placed: dict[str, dict[str, Source]] = {component: {} for component in COMPONENTS}
    for name, source in _place(header, CHECKPOINT).items():
        component, _, within = name.partition(".")
        placed[component][within] = source
    absent = [component for component, sources in placed.items() if not sources]
    if absent:
        raise BundleError(f"{header.path} holds no {' or '.join(absent)}: it is not the whole published file")
    return placed


def place_upsampler(header: Header) -> Placement:
    """The same for the file of a latent upsampler."""
    if "initial_conv.weight" not in header.tensors:
        raise BundleError(f"{header.path} is no latent upsampler: it has {_summary(header.tensors)}")
    return _place(header, UPSAMPLER)


def _place(header: Header, tree: Tree) -> Placement:
    placed: dict[str, Source] = {}
    unknown: list[str] = []
    for key, source in _sources(header).items():
        try:
            name = rename(tree, key)
        except UnknownName:
            unknown.append(key)
            continue
        if name is None:
            continue
        if name in placed:
            raise BundleError(f"{header.path} holds {name} twice, as {placed[name].key} and as {key}")
        placed[name] = source
    if unknown:
        raise BundleError(f"{header.path} holds {len(unknown)} unknown tensors: {_few(unknown)}")
    return placed


def _sources(header: Header) -> Mapping[str, Source]:
    """Each tensor with its scale, where it has one.

    The published fp8 files hold a layer's weight as F8_E4M3 beside two F32 numbers: the weight is ``weight *
    weight_scale``, as published reports of the values say (without it they are some 770 times too large), and
    ``input_scale`` is for computing in fp8, which is not done here. Fp8 values without a scale are refused: nothing
    says what they stand for.
    """
    tensors = header.tensors
    quantised = {key for key, entry in tensors.items() if entry.dtype == FP8}
    sources: dict[str, Source] = {}
    for key, entry in tensors.items():
        layer, _, leaf = key.rpartition(".")
        if leaf in (_WEIGHT_SCALE, _INPUT_SCALE) and f"{layer}.weight" in quantised:
            if entry.dtype != "F32" or entry.shape not in ((), (1,)):
                raise BundleError(f"{header.path}: {key} is {entry.dtype} {list(entry.shape)}, not one F32 number")
        elif key in quantised:
            scale = tensors.get(f"{layer}.{_WEIGHT_SCALE}")
            if leaf != "weight" or scale is None:
                raise BundleError(f"{header.path}: {key} is {FP8} without a {_WEIGHT_SCALE}, so its values are unknown")
            sources[key] = Source(key, entry, scale)
        elif entry.dtype in FLOATS:
            sources[key] = Source(key, entry)
        else:
            raise BundleError(
                f"{header.path}: {key} has type {entry.dtype}; weights are {', '.join(FLOATS)} or scaled {FP8}"
            )
    return sources


def _summary(keys: Iterable[str]) -> str:
    """What a file's names begin with, the most frequent first."""
    counts = Counter(".".join(key.split(".")[:2]) if key.startswith("model.") else key.split(".")[0] for key in keys)
    parts = [f"{count} of {name[:60]}" for name, count in counts.most_common(6)]
    return f"{sum(counts.values())} tensors ({', '.join(parts)})" if parts else "no tensors"


def _few(names: list[str]) -> str:
    shown = ", ".join(name[:200] for name in sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} ..."
