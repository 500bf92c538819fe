"""The programs in the five documents, cut out as they are printed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "endpoints" / "documents"

_FENCED = ("call", "install", "call", "install", "call")
_PAGE = ("install", "key", "call", "configure", "submit", "status", "result", "upload")
PURPOSES = {
    "ltx-2": _FENCED,
    "ltx-2.3": _FENCED,
    "ltx-2-19b": _FENCED,
    "ltx-2.3-22b-lora": _FENCED,
    "ltx-2.3-quality": _PAGE,
}
"""What each program of a document is for, in the document's order."""


@dataclass(frozen=True)
class Program:
    document: str
    number: int
    """In its document, from 1."""
    language: str
    """``bash``, ``python`` or ``javascript``."""
    purpose: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}-{self.number}-{self.language}-{self.purpose}"


def programs() -> list[Program]:
    """Every program; raises ValueError for a document with another number of them than ``PURPOSES`` has."""
    return [
        Program(document, number, language, purpose, text)
        for document, purposes in PURPOSES.items()
        for number, ((language, text), purpose) in enumerate(zip(cut(source(document)), purposes, strict=True), 1)
    ]


def source(document: str) -> str:
    return (FOLDER / f"{document}.txt").read_text()


def cut(text: str) -> Iterator[tuple[str, str]]:
    """Language and text of each program: between fences, or from the page's lines, where nothing marks them."""
    fenced = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if fenced:
        return ((language, code) for language, code in fenced if language != "json")
    return _of_page(text.partition("\n5. Schema#\n")[0])


def _of_page(text: str) -> Iterator[tuple[str, str]]:
    """A command is a line of its own; JavaScript goes from its import to the next heading or sentence."""
    held: list[str] = []
    for line in [*text.split("\n"), "#"]:
        if held and (line.endswith(("#", ".")) or line.startswith("import ")):
            yield "javascript", "\n".join(held).rstrip() + "\n"
            held = []
        if held or line.startswith("import "):
            held.append(line)
        elif line.startswith(("npm ", "export ")):
            yield "bash", line + "\n"
