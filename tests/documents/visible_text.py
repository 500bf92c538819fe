"""What a reader sees of an HTML page: one line per block, as a browser's "copy all" gives it."""

import re
from html.parser import HTMLParser

BLOCKS = frozenset({"aside", "body", "h1", "h2", "h3", "h4", "li", "main", "nav", "p", "pre", "section", "ul"})
HIDDEN = frozenset({"head", "script", "style", "template"})
VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Page(HTMLParser):
    """``lines`` are (the innermost block's tag, its text); ``links`` every address that it names."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[tuple[str, str]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._open: list[str] = []
        self._text = ""
        self.feed(source)
        self.close()
        assert self._open == [], "an element is not closed"

    def text(self, *without: str) -> list[str]:
        """The lines outside blocks of the tags ``without``."""
        return [text for block, text in self.lines if block not in without]

    def inside(self, tag: str) -> list[str]:
        return [text for block, text in self.lines if block == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        self.attributes |= set(found)
        self.links += [value for name in ("href", "src", "action") if (value := found.get(name))]
        self.ids += [value for value in (found.get("id"),) if value]
        if tag in BLOCKS:
            self._end_line()
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self._end_line()
        assert self._open.pop() == tag, f"{tag} is closed out of order"

    def handle_data(self, data: str) -> None:
        if not HIDDEN & set(self._open):
            self._text += data

    def _end_line(self) -> None:
        block = next((tag for tag in reversed(self._open) if tag in BLOCKS), "")
        lines = self._text.split("\n") if block == "pre" else [re.sub(r"[ \t\n]+", " ", self._text).strip(" ")]
        self.lines += [(block, line.rstrip()) for line in lines if line.strip()]
        self._text = ""
