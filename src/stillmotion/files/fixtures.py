"""Local files in place of outside URLs."""

import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from stillmotion.errors import ConfigurationError


class Fixtures:
    """Local files by URL. A key is a URL, or a glob of URLs (``https://example.com/*.png``; ``*`` is any text).

    The URL itself wins over globs, and of these the first that fits. Raises ConfigurationError if a file is missing.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)
        for key, path in self._files.items():
            if not path.is_file():
                raise ConfigurationError(f"fixtures: the file {path} for {key} does not exist")

    def __bool__(self) -> bool:
        return bool(self._files)

    def find(self, url: str) -> Path | None:
        exact = self._files.get(url)
        if exact is not None:
            return exact
        return next((path for key, path in self._files.items() if fnmatchcase(url, key)), None)


def read_fixtures(file: Path) -> dict[str, Path]:
    """The table ``[fixtures]`` of a TOML file; its paths are relative to the file. Raises ConfigurationError."""
    try:
        table = tomllib.loads(file.read_text()).get("fixtures")
    except (OSError, ValueError) as error:  # TOML and UTF-8 errors are ValueErrors
        raise ConfigurationError(f"fixtures: {file} cannot be read: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(path, str) for path in table.values()):
        raise ConfigurationError(f'fixtures: {file} has no table [fixtures] of "URL or glob" = "FILE"')
    return {key: file.parent / path for key, path in table.items()}
