"""``python -m docs.screens FOLDER``: the pictures that the playground's tests take, as one sheet for each state.

The tests keep them with ``PLAYGROUND_SCREENSHOTS=FOLDER python -m pytest tests/web``: every state of every page at 1440
and at 375 pixels, light and dark. Writes docs/screens.md too.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

from PIL import Image

SHEETS = Path(__file__).parent / "images/screens"
PAGE = Path(__file__).parent / "screens.md"
VIEW = re.compile(r"(?P<state>.+)-(?P<width>\d+)-(?P<theme>light|dark)")
HEIGHT, GAP = 420, 8
"""Of a view on its sheet: words can be read at 1440 pixels, and 40 sheets stay within 2 MB."""


def sheets(pictures: Path) -> list[str]:
    """Writes a sheet for each state, its views side by side; returns the states in the order of their names."""
    views: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(pictures.glob("*.png")):
        if found := VIEW.fullmatch(path.stem):
            views[found["state"]].append(path)
    SHEETS.mkdir(parents=True, exist_ok=True)
    for old in SHEETS.glob("*.webp"):
        old.unlink()
    for state, paths in views.items():
        _sheet(paths).save(SHEETS / f"{state}.webp", quality=55, method=6)
    return sorted(views)


def _sheet(paths: list[Path]) -> Image.Image:
    small = []
    for path in paths:
        with Image.open(path) as picture:
            width = round(picture.width * HEIGHT / picture.height)
            small.append(picture.convert("RGB").resize((width, HEIGHT), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (sum(each.width + GAP for each in small) - GAP, HEIGHT), "#808080")
    left = 0
    for each in small:
        sheet.paste(each, (left, 0))
        left += each.width + GAP
    return sheet


def page(states: list[str]) -> str:
    lines = [
        "# The playground in every state",
        "",
        "Each at 1440 and at 375 pixels, light and dark, as the tests see it. Made by `docs/screens.py`.",
    ]
    for state in states:
        title = state.replace("_", " ").replace("-", ", ")
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", f"![{title}](images/screens/{state}.webp)"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(sheets(Path(sys.argv[1]))), encoding="utf-8")
