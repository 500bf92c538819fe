"""docs/delivery.md says what the table in the code says."""

from pathlib import Path

from stillmotion.media.codecs import QUALITIES, TRACKS, VIDEO

PAGE = Path(__file__).parents[2] / "docs/delivery.md"


def rows() -> list[str]:
    """The page's table, made of the code's."""
    found = []
    for container, modes in VIDEO.items():
        for mode, qualities in modes.items():
            graded = [name for name in qualities["low"] if len({qualities[each][name] for each in QUALITIES}) > 1]
            (setting,) = graded
            tracks = TRACKS.get(container)
            always = {name: value for name, value in qualities["low"].items() if name != setting}
            always |= tracks.common if tracks else {}
            values = " | ".join(qualities[quality][setting] for quality in QUALITIES)
            others = ", ".join(f"`{name} {value}`" for name, value in always.items())
            found.append(f"| {container} | {mode} | `{setting}` | {values} | {others} |")
    return found


def test_every_number_of_the_table_is_the_codes() -> None:
    page = PAGE.read_text().splitlines()
    first = page.index("| container | mode | setting | low | medium | high | maximum | and always |") + 2
    assert page[first : page.index("", first)] == rows()
