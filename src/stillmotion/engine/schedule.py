"""Noise schedules: the list of noise levels that a denoising run steps through. Pure arithmetic."""

import math

_SHIFT_AT = ((1024, 0.95), (4096, 2.05))
"""Token counts and the log-shift LTX-2 was trained with at each; the shift is linear in between and beyond."""

_TERMINAL = 0.1
"""The last noise level before clean: the schedule is stretched so that it ends exactly there."""


def ltx2(steps: int, tokens: int = 4096) -> list[float]:
    """``steps + 1`` noise levels from 1 down to 0: the shifted, stretched flow-matching schedule of LTX-2.

    ``mu`` grows linearly with ``tokens``; ``u_i = 1 - i/steps``; ``s_i = e^mu / (e^mu + 1/u_i - 1)``; then
    ``1 - s`` is scaled so that the last level above 0 is 0.1. The shift is not clamped, so large canvases (32640
    tokens: mu 12) would spend every step near pure noise; the published one-stage recipes therefore use 4096 tokens
    (mu 2.05) at every size, and so does the default here.

    Raises ValueError for fewer than two steps: the stretch needs a level between the ends.
    """
    if steps < 2:
        raise ValueError(f"the ltx2 schedule needs at least 2 steps, not {steps}")
    (few, shift), (many, larger_shift) = _SHIFT_AT
    scale = math.exp(shift + (larger_shift - shift) * (tokens - few) / (many - few))
    shifted = [scale / (scale + (steps / (steps - i) - 1)) for i in range(steps)]
    stretch = (1 - _TERMINAL) / (1 - shifted[-1])
    return [1 - (1 - sigma) * stretch for sigma in shifted] + [0.0]
