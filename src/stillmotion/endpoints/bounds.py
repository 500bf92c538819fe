"""Bounds that the documents leave open. They are the operator's choice, never part of the served schema.

Checked after the schema, before anything is computed; every violation is told with the field and the limit.
``docs/endpoints.md`` has them as a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stillmotion.errors import Detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits on one request; the defaults hold the longest documented request with room."""

    max_prompt_chars: int = 5000
    min_side: int = 64
    max_side: int = 4096
    max_megapixels: int = 4200
    """Millions of pixels of one video over all its frames. 2160p at 50 fps for 10 s, the documents' most, is 4147.2."""
    max_seed: int = 2**63 - 1
    max_loras: int = 3
    max_lora_scale: float = 4.0
    """On either side of 0."""
    max_lora_path_chars: int = 4096
    """Presigned URLs reach about 2,000."""
    min_frames: int = 9
    max_frames: int = 481
    """``min_frames`` to ``max_fps`` hold where the document states no range; they are what its siblings state."""
    min_fps: float = 1.0
    max_fps: float = 60.0
    max_steps: int = 30
    """The quality document's text: "can be increased up to 30"."""
    max_guidance_scale: float = 10.0

    def text(self, field: str, value: str) -> list[Detail]:
        """``value`` is at most ``max_prompt_chars`` long."""
        return self.length((field,), value, self.max_prompt_chars)

    def seed(self, value: int | None) -> list[Detail]:
        """``value``, if there is one, lies between 0 and ``max_seed``."""
        return [] if value is None else self.number(("seed",), value, 0, self.max_seed)

    def size(self, field: str, width: int, height: int) -> list[Detail]:
        """Both sides lie within ``min_side`` and ``max_side``."""
        return [
            detail
            for side, value in (("width", width), ("height", height))
            for detail in self.number((field, side), value, self.min_side, self.max_side)
        ]

    def volume(self, field: str, size: tuple[int, int], num_frames: int) -> list[Detail]:
        """``size`` over ``num_frames`` is at most ``max_megapixels``; ``field`` is the one that sets the size."""
        megapixels = size[0] * size[1] * num_frames / 1e6
        if megapixels <= self.max_megapixels:
            return []
        asked = f"{size[0]}x{size[1]} over {num_frames} frames is {megapixels:.1f} megapixels of video"
        message = f"{asked}; at most {self.max_megapixels} are allowed"
        return [Detail(loc=("body", field), msg=message, type="value_error", ctx={"le": self.max_megapixels})]

    def number(self, loc: tuple[str | int, ...], value: float, low: float, high: float) -> list[Detail]:
        """``value`` lies within ``low`` and ``high``; ``loc`` is the field, or the way to it."""
        if value < low:
            message, kind, ctx = f"Input should be greater than or equal to {low}", "greater_than_equal", {"ge": low}
        elif value > high:
            message, kind, ctx = f"Input should be less than or equal to {high}", "less_than_equal", {"le": high}
        else:
            return []
        # A number that came as a string may be longer than JSON writers take.
        told = value if abs(value) < 2**63 else str(value)
        return [Detail(loc=("body", *loc), msg=message, type=kind, ctx=ctx, input=told)]

    def length(self, loc: tuple[str | int, ...], value: Sequence[object], limit: int) -> list[Detail]:
        """A string or a list is at most ``limit`` long."""
        if len(value) <= limit:
            return []
        kind, parts = ("String", "characters") if isinstance(value, str) else ("List", "items")
        message, ctx = f"{kind} should have at most {limit} {parts}", {"max_length": limit}
        given = value if isinstance(value, str) else None
        return [Detail(loc=("body", *loc), msg=message, type="sequence_too_long", ctx=ctx, input=given)]
