"""Which LoRA paths can be used at all: told from the text, before anything is fetched."""

import re
from collections.abc import Sequence

from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.vocabulary import LoRAInput
from stillmotion.errors import Detail

# A URL that every parser reads alike: no user name, white space, control character or backslash.
_URL = re.compile(r"https?://[^/?#@\\\s\x00-\x1f\x7f]+(?:[/?#][^\\\s\x00-\x1f\x7f]*)?", re.IGNORECASE)
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}"
# A repository, or one safetensors file in it.
_REPOSITORY = re.compile(rf"{_NAME}/{_NAME}(?:(?:/{_NAME})*/{_NAME}\.safetensors)?")


def named(loras: Sequence[LoRAInput]) -> list[LoRAInput]:
    """The entries that name a LoRA: every example of the document has one with the path ``""``, which means none."""
    return [lora for lora in loras if lora.path]


def usable(path: str) -> bool:
    """``path`` is an http or https URL, a Hugging Face repository, or a ``.safetensors`` file in one."""
    return _URL.fullmatch(path) is not None or (".." not in path and _REPOSITORY.fullmatch(path) is not None)


def check(field: str, loras: Sequence[LoRAInput], bounds: Bounds) -> list[Detail]:
    """At most ``max_loras``, each at a scale within ``max_lora_scale`` of 0, with a path that is usable or empty."""
    if too_many := bounds.length((field,), loras, bounds.max_loras):
        return too_many
    limit, found = bounds.max_lora_scale, []
    for index, lora in enumerate(loras):
        found += _check_path((field, index, "path"), lora.path, bounds)
        found += bounds.number((field, index, "scale"), lora.scale, -limit, limit)
    return found


def _check_path(loc: tuple[str | int, ...], path: str, bounds: Bounds) -> list[Detail]:
    if too_long := bounds.length(loc, path, bounds.max_lora_path_chars):
        return too_long
    if not path or usable(path):
        return []
    message = "A LoRA path should be an http(s) URL, 'owner/repo' or 'owner/repo/file.safetensors'"
    return [Detail(loc=("body", *loc), msg=message, type="value_error", input=path)]
