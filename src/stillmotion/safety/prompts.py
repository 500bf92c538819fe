"""Prompts against a file of words and patterns. No torch: it runs wherever requests are taken."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stillmotion.errors import ConfigurationError
from stillmotion.safety.backtracking import LIMIT, ways
from stillmotion.safety.checker import PASSED, Picture, Verdict
from stillmotion.safety.text import normalised, words


@dataclass(frozen=True, slots=True)
class _Pattern:
    line: str
    expression: re.Pattern[str]


class PromptPatterns:
    """A checker of prompts; pictures pass.

    Each line of the file is a term, words that are flagged when they stand in the prompt in this order as whole words,
    whatever their case and the punctuation between them; or a regular expression between slashes, which is searched
    for in the prompt as ``text.normalised`` spells it, whatever its case. Lines that begin with ``#`` are comments.
    """

    def __init__(self, terms: Iterable[Sequence[str]], patterns: Iterable[_Pattern]) -> None:
        self._terms = frozenset(tuple(term) for term in terms)
        self._lengths = sorted({len(term) for term in self._terms})
        self._patterns = tuple(patterns)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises ConfigurationError, with the line where one is at fault."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"the file of refused prompts cannot be read: {error}") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Self:
        """The contents of a file; ``source`` names it in errors. Raises ConfigurationError."""
        terms: list[list[str]] = []
        patterns: list[_Pattern] = []
        for number, line in enumerate(map(str.strip, text.splitlines()), 1):
            try:
                if len(line) > 1 and line.startswith("/") and line.endswith("/"):
                    patterns.append(_Pattern(line, _expression(line[1:-1])))
                elif line and not line.startswith("#"):
                    terms.append(_term(line))
            except ValueError as error:
                raise ConfigurationError(f"{source}, line {number}: {error}") from None
        return cls(terms, patterns)

    def prompt(self, text: str) -> Verdict:
        found = words(text)
        for length in self._lengths:
            for first in range(len(found) - length + 1):
                if (term := tuple(found[first : first + length])) in self._terms:
                    return Verdict(flagged=True, label=" ".join(term), score=1.0)
        plain = normalised(text)
        for pattern in self._patterns:
            if pattern.expression.search(plain):
                return Verdict(flagged=True, label=pattern.line, score=1.0)
        return PASSED

    def picture(self, rgb: Picture) -> Verdict:
        return PASSED

    def frames(self, frames: Iterable[Picture]) -> Verdict:
        return PASSED


def _term(line: str) -> list[str]:
    # "c++" would become the word "c", which is not what was meant.
    if not (found := words(line)) or re.search(r"[^\w\s'’-]", normalised(line)):
        raise ValueError(f"{line!r} is not words alone; write it as a regular expression between slashes")
    return found


def _expression(pattern: str) -> re.Pattern[str]:
    try:
        expression = re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if ways(pattern) > LIMIT:
        raise ValueError("this expression could take minutes on a long prompt; bound its repetitions, as in .{0,60}")
    if expression.search(""):
        raise ValueError("this expression matches every prompt")
    return expression
