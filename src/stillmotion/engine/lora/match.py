"""A LoRA file held against the networks: which layers it changes, and everything about it that does not fit."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from stillmotion.engine.lora.layout import Factors, Part, Role, parse
from stillmotion.engine.lora.names import Target, Targets
from stillmotion.engine.lora.tensorfile import TensorFile, shown
from stillmotion.errors import UnfitLora

_NAMED = 5
"""Keys that a message names before it counts."""

_ORIGINS = (
    (("to_gate_logits", "prompt_adaln", "prompt_adaln_single", "video_aggregate_embed"), "LTX-2.3"),
    (("caption_projection", "audio_caption_projection", "aggregate_embed"), "LTX-2 19B"),
    (("double_blocks", "single_blocks", "single_transformer_blocks"), "FLUX or HunyuanVideo"),
    (("self_attn", "cross_attn"), "Wan"),
    (("add_k_proj", "add_q_proj", "add_v_proj"), "Qwen-Image or Stable Diffusion 3"),
    (("down_blocks", "up_blocks", "input_blocks", "output_blocks"), "Stable Diffusion"),
    (("lora_te", "lora_te1", "lora_te2", "text_encoder", "text_model"), "a text encoder"),
)
"""Elements of the keys that do not fit, and what has such layers; the first that is found is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two factors of one layer, still in the file."""

    down: str
    """Key of A (rank, inputs)."""
    up: str
    """Key of B (outputs, rank)."""
    factor: float
    """alpha / rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What of a file fits the networks and what does not."""

    pairs: Mapping[Target, Pair]
    unmatched: Sequence[str]
    """Keys that mean no layer of the networks, or nothing that we know."""
    mismatched: Sequence[str]
    """Layers whose shapes, factors or keys do not go together, each told in words."""
    unsupported: Sequence[str]
    """Keys of other methods than LoRA, and which."""

    @property
    def faults(self) -> list[str]:
        return [*self.unsupported, *self.mismatched, *self.unmatched]


class LoraFile:
    """A file all of which fits the networks. Raises UnfitLora that names up to five keys that do not."""

    def __init__(self, path: Path, targets: Targets) -> None:
        self._file = TensorFile(path)
        self.name = path.name
        self.stamp = self._file.stamp
        found = match(self._file, targets)
        if found.faults or not found.pairs:
            _refuse(self._file, found)
        self.pairs = found.pairs

    @property
    def sha256(self) -> str:
        return self._file.sha256

    def size(self, target: Target) -> int:
        """Elements of both factors of a layer."""
        pair = self.pairs[target]
        return sum(math.prod(self._file.entries[key].shape) for key in (pair.down, pair.up))

    def factors(self, target: Target, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A (rank, inputs) and B (outputs, rank) of a layer. Raises UnfitLora if they are not finite numbers."""
        pair = self.pairs[target]
        down, up = (self._file.read(key).to(device).to(dtype) for key in (pair.down, pair.up))
        for key, factor in ((pair.down, down), (pair.up, up)):
            if not bool(torch.isfinite(factor).all()):
                message = f"{self.name} has values in {shown(key)} that are not finite numbers"
                raise UnfitLora(message, self._file.path)
        return down, up


def match(file: TensorFile, targets: Targets) -> Match:
    """Finds a layer for each key of ``file``; nothing is read but its header and its alphas."""
    unmatched: list[str] = []
    mismatched: list[str] = []
    unsupported: list[str] = []
    keys: defaultdict[Target, dict[Role, str]] = defaultdict(dict)
    paths: dict[Target, str] = {}
    for key in file.entries:
        part = parse(key)
        if isinstance(part, str):
            unsupported.append(f"{shown(key)} ({part})")
        elif part is None or (target := targets.find(part.path)) is None:
            unmatched.append(shown(key))
        elif part.role in keys[target]:
            mismatched.append(f"{shown(key)} and {shown(keys[target][part.role])} are both for {target.name}")
        else:
            keys[target][part.role] = key
            paths[target] = part.path
    pairs: dict[Target, Pair] = {}
    try:
        factors = Factors(file.metadata)
        for target, roles in keys.items():
            try:
                pairs[target] = _pair(file, target, roles, partial(factors.of, paths[target]))
            except ValueError as error:
                mismatched.append(f"{target.name} {error}")
    except ValueError as error:  # the metadata is at fault, not a layer
        mismatched.append(str(error))
    return Match(pairs=pairs, unmatched=unmatched, mismatched=mismatched, unsupported=unsupported)


def _pair(file: TensorFile, target: Target, roles: Mapping[Role, str], told: Callable[[int], float]) -> Pair:
    """``told`` is alpha / rank after the file's metadata. Raises ValueError that goes on after the layer's name."""
    for role, meaning in (("down", "lora_A"), ("up", "lora_B")):
        if role not in roles:
            raise ValueError(f"has no {meaning}")
    down, up = roles["down"], roles["up"]
    a, b = file.entries[down].shape, file.entries[up].shape
    if len(a) != 2 or len(b) != 2:
        raise ValueError(f"has factors of {len(a)} and {len(b)} dimensions, a linear layer's have 2")
    layer = target.module
    for got, want, side in ((a[1], layer.in_features, "inputs"), (b[0], layer.out_features, "outputs")):
        if got != want:
            raise ValueError(f"expects {got} {side}, this model's has {want}")
    if a[0] != b[1] or not a[0]:
        raise ValueError(f"has factors of ranks {a[0]} and {b[1]}")
    factor = _alpha(file, roles["alpha"]) / a[0] if "alpha" in roles else told(a[0])
    return Pair(down=down, up=up, factor=factor)


def _alpha(file: TensorFile, key: str) -> float:
    if math.prod(file.entries[key].shape) != 1:
        raise ValueError("has an alpha that is not one number")
    alpha = float(file.read(key).reshape(()).item())
    if not 0 < alpha < math.inf:
        raise ValueError(f"has an alpha of {alpha}")
    return alpha


def _refuse(file: TensorFile, found: Match) -> NoReturn:
    if not file.entries:
        fault = "is empty: it has no tensors"
    elif not any(isinstance(parse(key), Part) for key in file.entries) and not found.unsupported:
        fault = f"is not a LoRA: {_named(found.faults)} are none of its keys"
    else:
        fits = f"{len(found.pairs)} layers of this model, but not all" if found.pairs else "nothing in this model"
        fault = f"fits {fits}: {_named(found.faults)}{_origin(file, found)}"
    raise UnfitLora(f"{file.path.name} {fault}", file.path)


def _named(faults: Sequence[str]) -> str:
    more = len(faults) - _NAMED
    return "; ".join(faults[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _origin(file: TensorFile, found: Match) -> str:
    """What the file seems to be made for."""
    told = next(
        (file.metadata[name] for name in ("modelspec.architecture", "ss_base_model_version") if name in file.metadata),
        None,
    )
    if told is not None:
        return f". Its metadata says that it was made for {shown(told, 60)}"
    origin = next((origin for elements, origin in _ORIGINS if _any_has(found.unmatched, elements)), None)
    if origin is not None:
        return f". It seems to be made for {origin}"
    return ". It seems to be made for another model" if found.mismatched and not found.pairs else ""


def _any_has(keys: Iterable[str], elements: Iterable[str]) -> bool:
    """Whether a key has one of the elements, be its path dotted or flattened."""
    flat = [f"_{key.replace('.', '_')}_" for key in keys]
    return any(f"_{element}_" in key for element in elements for key in flat)
