"""What a number of items could show: detectable differences, and the items that a verdict would want. Pure.

The variance of a paired difference hangs on how many items differ, not on how many are right (Miettinen 1968,
Biometrics 24:339; Connor 1987, Biometrics 43:207): with mean squared difference ψ (of right-or-wrong values
the share that differs), n items show the difference δ with power 1 − β where

    √n·δ = z(1 − α/2)·√ψ + z(1 − β)·√(ψ − δ²).

ψ is the one seen. A difference wants items that differ: ψ is no less than δ times the step of one item, so
that 7.9 items that all changed the same way is the least that shows, however few differ now.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy import stats

from ranker.statistics.difference import BISECTIONS, Difference, find_quantile

POWER = 0.8
MOST_ITEMS = 10**9  # beyond, no number of items is of use


def find_detectable(found: Difference, confidence: float, power: float = POWER) -> float | None:
    """Return the smallest difference that these items show; None where they are too few for any.

    "Show" is a two-sided test at 1 − `confidence`, with `power`. The exact test of few items is more cautious
    than this normal approximation: its power there was 0.73 to 0.82 in simulations of 80 %.
    """
    z, z_power = find_quantile(confidence), float(stats.norm.ppf(power))

    def lack(difference: float) -> float:
        square = max(found.mean_square, difference * found.step)
        needed = z * math.sqrt(square) + z_power * math.sqrt(max(square - difference**2, 0.0))
        return needed - math.sqrt(found.n_items) * difference

    low, high = 0.0, found.step
    if lack(high) > 0:
        return None
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if lack(middle) > 0 else (low, middle)
    return high


def combine_detectable(
    found: Mapping[str, Difference], weights: Mapping[str, float], confidence: float
) -> float | None:
    """Return the smallest difference of a weighted mean that shows: the benchmarks' own add as errors do."""
    total = math.fsum(weights.values())
    parts = [(weight / total, find_detectable(found[name], confidence)) for name, weight in weights.items()]
    known = [share * detectable for share, detectable in parts if detectable is not None]
    return math.sqrt(math.fsum(part**2 for part in known)) if len(known) == len(parts) else None


def count_needed_items(
    found: Difference, margin: float, confidence: float, power: float = POWER
) -> int | None:
    """Return how many items settle on which side of −`margin` a lane is; None where no number does.

    It takes the difference and the share of differing items that were seen for the true ones: a difference
    that lies near −`margin` wants very many items. Under the hypothesis that the loss is the margin, ψ is
    (ψ + √(ψ² + 4·(margin·step)²)) / 2, the likeliest for few differing items (Nam 1997, Biometrics
    53:1422, on the score test's variance).
    """
    distance = abs(found.value + margin)
    z, z_power = find_quantile(confidence), float(stats.norm.ppf(power))
    square = found.mean_square
    under = (square + math.hypot(square, 2 * margin * found.step)) / 2
    spread = z * math.sqrt(under) + z_power * math.sqrt(max(square - found.value**2, 0.0))
    if spread**2 > MOST_ITEMS * distance**2:
        return None
    return max(found.n_items + 1, math.ceil((spread / distance) ** 2))
