"""How much a regular expression can backtrack.

Python's matcher tries every way in which a pattern can split a text. For ``(a+)+b`` these double with each character:
a prompt of thirty letters would hold the server for minutes. So the ways are counted before a pattern is accepted.
"""

import re
import sys

MANY = 250
"""What a repetition without an upper bound counts as: a run of characters that a prompt may well hold."""
LIMIT = 10_000
"""Two bounded repetitions of 100, or an unbounded one and 40 alternatives, but never two unbounded ones in a row.

Prompts of 5,000 characters that were made to be slow took 0.1 to 0.7 s on accepted patterns that somebody might write,
and 3.4 s on one with thirty equal alternatives.
"""

_REPETITION = re.compile(r"([*+?]|\{(?!\})(?P<low>\d*)(?P<comma>,?)(?P<high>\d*)\})[?+]?")
_GROUP = re.compile(r"\((?:\?(?::|=|!|>|<=|<!|P<\w+>))?")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)


def ways(pattern: str) -> int:
    """Ways in which a match of ``pattern`` can begin at one place, ``LIMIT + 1`` at most.

    ``pattern`` is one that ``re`` compiles. Raises ValueError for what cannot be bounded like this: references to
    groups, conditions, and flags inside the pattern.
    """
    reader = _Reader(pattern)
    found = reader.alternatives()
    assert reader.ended
    return found


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern, self._at = pattern, 0

    @property
    def ended(self) -> bool:
        return self._at == len(self._pattern)

    def alternatives(self) -> int:
        total = self._sequence()
        while self._pattern.startswith("|", self._at):
            self._at += 1
            total += self._sequence()
        return min(total, LIMIT + 1)

    def _sequence(self) -> int:
        total = 1
        while not self.ended and self._pattern[self._at] not in "|)":
            total = min(total * self._piece(), LIMIT + 1)
        return total

    def _piece(self) -> int:
        inner = self._atom()
        found = _REPETITION.match(self._pattern, self._at)
        if found is None:
            return inner
        self._at = found.end()
        return _repeated(inner, *_bounds(found))

    def _atom(self) -> int:
        rest = self._pattern[self._at]
        if rest == "(":
            return self._group()
        if rest == "\\":
            if re.match(r"\\[1-9]", self._pattern[self._at :]):
                raise ValueError("a reference to a group cannot be bounded")
            self._at += 2  # the digits of \x41 or \u0041 count as characters, which changes nothing
        elif rest == "[":
            found = _CLASS.match(self._pattern, self._at)
            assert found
            self._at = found.end()
        else:
            self._at += 1
        return 1

    def _group(self) -> int:
        found = _GROUP.match(self._pattern, self._at)
        assert found
        if found.group() == "(" and self._pattern.startswith("(?", self._at):
            raise ValueError("a group can be (...), (?:...), (?P<name>...), (?>...) or look ahead or behind")
        self._at = found.end()
        inner = self.alternatives()
        self._at += 1
        return inner


def _bounds(found: re.Match[str]) -> tuple[int, int]:
    match found[1]:
        case "*":
            return 0, sys.maxsize
        case "+":
            return 1, sys.maxsize
        case "?":
            return 0, 1
    low = int(found["low"] or 0)
    if not found["comma"]:
        return low, low
    return low, int(found["high"] or sys.maxsize)


def _repeated(inner: int, low: int, high: int) -> int:
    """Ways of something with ``inner`` ways, repeated from ``low`` to ``high`` times."""
    if inner == 1:
        return min(high - low + 1, MANY if high == sys.maxsize else LIMIT + 1)
    total, power = 0, 1
    for count in range(min(high, LIMIT) + 1):
        total += power if count >= low else 0
        power *= inner
        if total > LIMIT or power > LIMIT * inner:
            return LIMIT + 1
    return total
