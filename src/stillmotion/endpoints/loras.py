"""What a LoRA path says, and which LoRAs can be used at all: told from the text, before anything is fetched.

A path is one of

    https://host/file                      an http or https URL
    owner/repo                             a Hugging Face repository
    owner/repo/folder/file.safetensors     one file of it
    owner/repo@revision                    either at a branch, a tag or a commit
    owner/repo@revision/file.safetensors
    local:folder/file.safetensors          a file in the folder that the operator configured
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.vocabulary import LoRAInput
from stillmotion.errors import Detail


@dataclass(frozen=True, slots=True)
class Url:
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A Hugging Face repository; without ``file`` it must hold exactly one that can be meant."""

    repo: str
    revision: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Local:
    """A file by its name in the operator's folder, with ``/`` between its parts."""

    name: str


# A URL that every parser reads alike: no user name, white space, control character or backslash.
_URL = re.compile(r"https?://[^/?#@\\\s\x00-\x1f\x7f]+(?:[/?#][^\\\s\x00-\x1f\x7f]*)?", re.IGNORECASE)
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}"
_FILE = rf"(?:{_NAME}/)*{_NAME}\.safetensors"
_REPOSITORY = re.compile(rf"(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>{_NAME}))?(?:/(?P<file>{_FILE}))?")
_LOCAL = re.compile(rf"local:(?P<name>{_FILE})")


def parse(path: str) -> Url | Repository | Local | None:
    """What ``path`` names; None for a text that is no LoRA path."""
    if _URL.fullmatch(path):
        return Url(path)
    if ".." in path:
        return None
    if local := _LOCAL.fullmatch(path):
        return Local(local["name"])
    repository = _REPOSITORY.fullmatch(path)
    return Repository(**repository.groupdict()) if repository else None


def told(path: str) -> str:
    """``path`` for a log: of a URL the host alone, because what follows may be a signature."""
    match parse(path):
        case Url(url):
            return f"a file of {urlsplit(url).hostname}"
        case _:
            return path


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
    # Every example of the document has the path "", which means none.
    if not path or parse(path):
        return []
    message = (
        "A LoRA path should be an http(s) URL, 'owner/repo', 'owner/repo/file.safetensors', either with '@revision' "
        "after the repository, or 'local:file.safetensors'"
    )
    return [Detail(loc=("body", *loc), msg=message, type="value_error", input=path)]
