"""What the text of a LoRA's path names.

https://host/file                      an http or https URL
owner/repo                             the one safetensors file of a Hugging Face repository
owner/repo/folder/file.safetensors     one file of it
owner/repo@revision                    either at a branch, a tag or a commit
owner/repo@revision/file.safetensors
local:folder/file.safetensors          a file in the folder that whoever runs the server configured
"""

import re
from dataclasses import dataclass

from stillmotion.errors import FileDownloadError
from stillmotion.hub import REPOSITORY

_PIECE = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}"
_FILE = rf"(?:{_PIECE}/)*{_PIECE}\.safetensors"
_LOCAL = re.compile(rf"local:(?P<name>{_FILE})")
_HUB = re.compile(rf"(?P<name>{REPOSITORY.pattern})(?:@(?P<revision>{_PIECE}))?(?:/(?P<file>{_FILE}))?")
_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UrlPath:
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPath:
    name: str
    revision: str | None
    file: str | None
    """None: the only one that can be meant."""


@dataclass(frozen=True, slots=True)
class LocalPath:
    name: str
    """With ``/`` between folders."""


def parse_lora_path(text: str) -> UrlPath | HubPath | LocalPath:
    """Raises FileDownloadError for any other text; a URL's details are for the fetcher to judge."""
    if _URL.match(text):
        return UrlPath(text)
    if ".." not in text:
        if local := _LOCAL.fullmatch(text):
            return LocalPath(local["name"])
        if hub := _HUB.fullmatch(text):
            return HubPath(name=hub["name"], revision=hub["revision"], file=hub["file"])
    raise FileDownloadError(
        "a LoRA path is an http(s) URL, 'owner/repo' or 'owner/repo/file.safetensors', either with '@revision' after "
        "the repository, or 'local:file.safetensors'"
    )
