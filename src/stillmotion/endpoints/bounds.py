"""Bounds that the documents leave open. They are the operator's choice, never part of the served schema.

Checked after the schema, before anything is computed; every violation is told with the field and the limit.
"""

from dataclasses import dataclass

from stillmotion.errors import Detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits on one request; the defaults hold the longest documented request with room."""

    max_prompt_chars: int = 5000
    min_side: int = 64
    max_side: int = 4096

    def text(self, field: str, value: str) -> list[Detail]:
        """``value`` is at most ``max_prompt_chars`` long."""
        if len(value) <= self.max_prompt_chars:
            return []
        limit = self.max_prompt_chars
        message = f"String should have at most {limit} characters"
        return [
            Detail(loc=("body", field), msg=message, type="sequence_too_long", ctx={"max_length": limit}, input=value)
        ]

    def size(self, field: str, width: int, height: int) -> list[Detail]:
        """Both sides lie within ``min_side`` and ``max_side``."""
        found = []
        for side, value in (("width", width), ("height", height)):
            loc = ("body", field, side)
            if value < self.min_side:
                message = f"Input should be greater than or equal to {self.min_side}"
                ctx = {"ge": self.min_side}
                found.append(Detail(loc=loc, msg=message, type="greater_than_equal", ctx=ctx, input=value))
            if value > self.max_side:
                message = f"Input should be less than or equal to {self.max_side}"
                ctx = {"le": self.max_side}
                found.append(Detail(loc=loc, msg=message, type="less_than_equal", ctx=ctx, input=value))
        return found
