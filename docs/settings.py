"""Writes docs/settings.md from the declarations: ``python -m docs.settings``."""

from pathlib import Path

from stillmotion.settings import settings_table

PAGE = Path(__file__).with_suffix(".md")
HEAD = """\
# Settings

Flags of `stillmotion serve` win over the environment, the environment over `stillmotion.toml` in the working directory,
where a setting has the same name. Lists are separated by commas. This page is generated from `settings.py`.

"""


def page() -> str:
    return HEAD + settings_table()


if __name__ == "__main__":
    PAGE.write_text(page())
