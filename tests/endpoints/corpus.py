"""The five documents, each with its reader and its endpoint."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from documented import Document, differences
from read_llms import read_llms
from read_page import read_page
from served import as_llms, as_page

from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.endpoints.endpoint import Endpoint

_FOLDER = Path(__file__).parent / "documents"


@dataclass(frozen=True)
class Source:
    """One document."""

    name: str
    text: str = field(repr=False)
    read: Callable[[str], Document] = field(repr=False)
    tell: Callable[[Endpoint], Document] = field(repr=False)

    @cached_property
    def document(self) -> Document:
        return self.read(self.text)

    @property
    def endpoint(self) -> Endpoint:
        return CATALOGUE[self.document.id]

    def differences(self) -> list[str]:
        return differences(self.document, self.tell(self.endpoint))


def _source(name: str) -> Source:
    is_page = name == "ltx-2.3-quality"
    text = (_FOLDER / f"{name}.txt").read_text()
    return Source(name, text, read_page if is_page else read_llms, as_page if is_page else as_llms)


# In the order of the catalogue.
SOURCES = [_source(name) for name in ("ltx-2", "ltx-2.3", "ltx-2-19b", "ltx-2.3-22b-lora", "ltx-2.3-quality")]
