"""How LoRA files spell their keys: which layer a tensor belongs to, and what it is to that layer.

Rules are tables and match whole elements of a key's path.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["down", "up", "alpha"]
"""``down`` is A (rank, inputs) and ``up`` is B (outputs, rank) of ``W + alpha / rank * B A``."""

_ANY = "*"
# An adapter's name may stand before the last element; it is "default" unless the trainer chose another.
_ENDINGS: tuple[tuple[tuple[str, ...], Role], ...] = (
    (("lora_A", "weight"), "down"),
    (("lora_B", "weight"), "up"),
    (("lora_A", _ANY, "weight"), "down"),
    (("lora_B", _ANY, "weight"), "up"),
    (("lora_down", "weight"), "down"),
    (("lora_up", "weight"), "up"),
    (("lora", "down", "weight"), "down"),
    (("lora", "up", "weight"), "up"),
    (("alpha",), "alpha"),
)
_OTHER_METHODS: Mapping[str, str] = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "diff": "a difference of full weights",
    "diff_b": "a difference of biases",
    "set_weight": "a replaced weight",
    "lora_mid": "LoCon with a middle factor",
    **dict.fromkeys(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"), "LoHa"),
    **dict.fromkeys(
        ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2"), "LoKr"
    ),
    **dict.fromkeys(("oft_blocks", "oft_diag", "oft_R", "boft_R", "boft_s"), "OFT"),
    **dict.fromkeys(("a1", "a2", "b1", "b2"), "GLoRA"),
    **dict.fromkeys(("w_norm", "b_norm"), "a replaced normalisation"),
    **dict.fromkeys(("lora_embedding_A", "lora_embedding_B"), "a LoRA of an embedding"),
    "ia3_l": "IA3",
}
_CONFIGURATIONS = ("lora_adapter_metadata", "peft_config", "adapter_config")
"""Names in a file's metadata under which trainers leave PEFT's configuration, as JSON."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one key of a file says."""

    path: str
    """The layer, as the file calls it."""
    role: Role


def parse(key: str) -> Part | str | None:
    """A part of a LoRA, the name of another method that we do not implement, or ``None`` for neither."""
    elements = key.split(".")
    for ending, role in _ENDINGS:
        path, rest = elements[: -len(ending)], elements[-len(ending) :]
        if path and len(rest) == len(ending) and all(a in (_ANY, b) for a, b in zip(ending, rest, strict=True)):
            return Part(".".join(path), role)
    if elements[-1] == "bias" and {"lora_A", "lora_B"} & set(elements):
        return "a LoRA with biases"
    return next((_OTHER_METHODS[element] for element in elements if element in _OTHER_METHODS), None)


class Factors:
    """The factor ``alpha / rank`` as a file's metadata gives it, for layers whose alpha is no tensor of the file.

    Without any word it is 1. Raises ValueError that says what is wrong with the metadata.

    Read are PEFT's configuration, as JSON under one of its usual names, and a plain ``lora_alpha`` or ``alpha``.
    ``ss_network_alpha`` is not: files that carry it have alpha tensors, and those that lost them had them folded in.
    """

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._alpha: float | None = None
        self._patterns: dict[str, float] = {}
        self._root = False
        for name in ("alpha", "lora_alpha"):
            if name in metadata:
                self._alpha = _positive(name, metadata[name])
        for option, value in _options(metadata):
            self._take(option, value)

    def _take(self, option: str, value: Any) -> None:
        if option == "lora_alpha":
            self._alpha = _positive(option, value)
        elif option == "alpha_pattern" and value:
            if not isinstance(value, dict):
                raise ValueError("alpha_pattern in its metadata is not a table")
            self._patterns = {pattern: _positive(option, alpha) for pattern, alpha in value.items()}
            # PEFT takes regular expressions here. One from a stranger's file can keep a processor busy for years.
            for pattern in self._patterns:
                if not pattern.replace(".", "").replace("_", "").isalnum():
                    raise ValueError("alpha_pattern in its metadata has more than layers' paths")
        elif option == "use_rslora":
            self._root = bool(value)
        elif option == "use_dora" and value:
            raise ValueError("its metadata says that it is DoRA")

    def of(self, path: str, rank: int) -> float:
        """Of the layer that the file calls ``path``."""
        alpha = self._alpha
        for pattern, value in self._patterns.items():
            if f".{path}".endswith(f".{pattern}"):
                alpha = value
        return 1.0 if alpha is None else alpha / (math.sqrt(rank) if self._root else rank)


def _options(metadata: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for name in _CONFIGURATIONS:
        if name in metadata:
            try:
                configuration = json.loads(metadata[name])
            except (ValueError, RecursionError):
                raise ValueError(f"{name} in its metadata is not JSON") from None
            if not isinstance(configuration, dict):
                raise ValueError(f"{name} in its metadata is not a table")
            # diffusers puts the network's name before each option: transformer.lora_alpha.
            yield from ((option.rpartition(".")[2], value) for option, value in configuration.items())


def _positive(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} in its metadata is not a number") from None
    if not 0 < number < math.inf:
        raise ValueError(f"{name} in its metadata is not a positive number")
    return number
