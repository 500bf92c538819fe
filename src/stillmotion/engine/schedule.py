"""Noise schedules: the list of noise levels that a denoising run steps through. Pure arithmetic."""

import math

from stillmotion.job import Schedule

_SHIFT_AT = ((1024, 0.95), (4096, 2.05))
"""Token counts and the log-shift LTX-2 was trained with at each; the shift is linear in between and beyond."""

_TERMINAL = 0.1
"""The last noise level before clean: the schedule is stretched so that it ends exactly there."""

_LINEAR_UNTIL = 0.025
"""How far down the linear half of ``linear_quadratic`` goes."""

_BETA_SHAPE, _BETA_SHIFT, _BETA_LEVELS = 0.6, 2.37, 10_000
"""Shape of the symmetric beta distribution, log-shift, and number of training levels of ``beta``."""

_DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)
"""What the distilled models were trained at. The published refining pass at full size is its last three steps."""


def levels(schedule: Schedule, steps: int) -> list[float]:
    """``steps + 1`` noise levels down to 0, from 1 (``distilled`` with fewer than 8 steps: from further down).

    Raises ValueError for a number of steps that the schedule does not have.
    """
    return {"ltx2": ltx2, "linear_quadratic": linear_quadratic, "beta": beta, "distilled": distilled}[schedule](steps)


def ltx2(steps: int, tokens: int = 4096) -> list[float]:
    """The shifted, stretched flow-matching schedule of LTX-2.

    ``mu`` grows linearly with ``tokens``; ``u_i = 1 - i/steps``; ``s_i = e^mu / (e^mu + (1/u_i - 1))``; then
    ``1 - s`` is scaled so that the last level above 0 is 0.1. The shift is not clamped, so large canvases (32640
    tokens: mu 12) would spend every step near pure noise; the published one-stage recipes therefore use 4096 tokens
    (mu 2.05) at every size, and so does the default here.
    """
    _at_least_two("ltx2", steps)
    (few, shift), (many, larger_shift) = _SHIFT_AT
    mu = shift + (larger_shift - shift) * (tokens - few) / (many - few)
    shifted = [_shifted(1 - i / steps, mu) for i in range(steps)]
    stretch = (1 - _TERMINAL) / (1 - shifted[-1])
    return [1 - (1 - sigma) * stretch for sigma in shifted] + [0.0]


def linear_quadratic(steps: int) -> list[float]:
    """Half of the steps evenly over the first 0.025, the rest along a parabola that continues their slope to 0.

    With ``k = steps // 2``, ``q = steps - k``: ``1 - 0.025 i/k`` up to ``k``; from there, with ``j = i - k``,
    ``0.975 - 0.025 j/k - (0.975 - 0.025 q/k) (j/q)^2``.
    """
    _at_least_two("linear_quadratic", steps)
    half = steps // 2
    rest, slope = steps - half, _LINEAR_UNTIL / half
    bend = 1 - _LINEAR_UNTIL - slope * rest
    line = [1 - slope * i for i in range(steps)]
    return [level - bend * (max(0, i - half) / rest) ** 2 for i, level in enumerate(line)] + [0.0]


def beta(steps: int) -> list[float]:
    """Levels at even quantiles of a beta distribution, dense at both ends (Lee et al. 2024), then shifted by 2.37.

    ``u_i`` is the quantile of ``1 - i/steps`` under Beta(0.6, 0.6), on the grid of 10000 training levels. Beyond some
    500 steps levels coincide on that grid.
    """
    _at_least_two("beta", steps)
    quantiles = [beta_quantile(1 - i / steps, _BETA_SHAPE) for i in range(steps)]
    indices = [round(quantile * (_BETA_LEVELS - 1)) for quantile in quantiles]
    return [_shifted((index + 1) / _BETA_LEVELS, _BETA_SHIFT) for index in indices] + [0.0]


def distilled(steps: int) -> list[float]:
    """The last ``steps`` of the eight that distilled models know."""
    if not 1 <= steps < len(_DISTILLED):
        raise ValueError(f"the distilled schedule has {len(_DISTILLED) - 1} steps, not {steps}")
    return list(_DISTILLED[-steps - 1 :])


def beta_quantile(probability: float, shape: float) -> float:
    """The inverse of the regularised incomplete beta function I_x(shape, shape), to 1e-12; ``0 < shape <= 1``."""
    if probability > 0.5:  # the distribution is symmetric; the series below wants x <= 1/2
        return 1 - beta_quantile(1 - probability, shape)
    low, high = 0.0, 0.5
    while high - low > 1e-13:
        middle = (low + high) / 2
        low, high = (middle, high) if _beta_cdf(middle, shape) < probability else (low, middle)
    return high if probability else 0.0


def _beta_cdf(x: float, shape: float) -> float:
    """I_x(shape, shape) for 0 < x <= 1/2, by the power series of the incomplete beta function (DLMF 8.17.7)."""
    term, total, n = 1.0, 1.0 / shape, 0
    while term > 1e-17 * total:
        n += 1
        term *= (n - shape) * x / n
        total += term / (n + shape)
    return total * math.exp(shape * math.log(x) + math.lgamma(2 * shape) - 2 * math.lgamma(shape))


def _shifted(level: float, mu: float) -> float:
    return math.exp(mu) / (math.exp(mu) + (1 / level - 1))


def _at_least_two(schedule: Schedule, steps: int) -> None:
    """The stretch, the halves and the quantiles each need a level between the ends."""
    if steps < 2:
        raise ValueError(f"the {schedule} schedule needs at least 2 steps, not {steps}")
