"""What senders call their files, made safe, and the paths under which the files are served."""

import re
import unicodedata
from mimetypes import MimeTypes
from urllib.parse import quote

UPLOADS_PATH = "/files/b/"
"""Where uploads are served: ``/files/b/RANDOM/RANDOM_NAME``, which is fal's own form."""
UPLOAD_EXTENSION = "upload"
"""Of the file on disk: what its sender says that it is must not matter there."""
UNTYPED = "application/octet-stream"

_MOST_CHARACTERS = 100
_MOST_SUFFIX = 16
_SHARD = 8
"""Digits of the random name that are the first segment of its path, as fal's URLs have it."""
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]+"
_MEDIA_TYPE = re.compile(
    rf"({_TOKEN}/{_TOKEN})((?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|\"[^\"\\\x00-\x1f\x7f-\U0010ffff]*\"))*)"
)
_PATH = re.compile(rf"([0-9a-f]{{{_SHARD}}})/([0-9a-f]{{{40 - _SHARD}}})_([^/]+)")


def clean_file_name(name: str | None, content_type: str) -> str:
    """The last part of a path of any system, as one segment of a URL that people can read; never empty.

    Letters, marks and digits of every script stay, and ``. _ - +``; everything else becomes ``_``. An upload without
    a name is called after its type.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name or ""))[-1].strip().lstrip(".")
    kept = "".join(each if each in "._-+" or unicodedata.category(each)[0] in "LMN" else "_" for each in last)
    if not kept.strip("_"):
        return f"upload{_suffix_for(content_type)}"
    stem, dot, suffix = kept.rpartition(".")
    if stem and len(suffix) <= _MOST_SUFFIX:
        return stem[: _MOST_CHARACTERS - len(suffix) - 1] + dot + suffix
    return kept[:_MOST_CHARACTERS]


def clean_content_type(value: str | None) -> str:
    """A media type as the sender wrote it, its name in lower case; octets for what is none."""
    match = _MEDIA_TYPE.fullmatch((value or "").strip())
    if match is None or len(match[0]) > 255:
        return UNTYPED
    return match[1].lower() + match[2]


def upload_path(blob: str, file_name: str) -> str:
    """The path of the upload that is stored as ``blob``."""
    return f"{UPLOADS_PATH}{blob[:_SHARD]}/{blob[_SHARD:].partition('.')[0]}_{quote(file_name, safe='+')}"


def split_upload_path(path: str) -> tuple[str, str] | None:
    """Blob and file name of such a path, after ``UPLOADS_PATH`` and unquoted; None for what cannot be one."""
    match = _PATH.fullmatch(path)
    return (f"{match[1]}{match[2]}.{UPLOAD_EXTENSION}", match[3]) if match else None


def _suffix_for(content_type: str) -> str:
    """From Python's own table: the system's differs from machine to machine."""
    types = MimeTypes()
    media_type = content_type.partition(";")[0]
    if media_type == UNTYPED:
        return ".bin"
    return types.guess_extension(media_type, strict=False) or ""
