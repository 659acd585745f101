"""An axis of a chart on the page: places in percent, so that letters keep their size at any width. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MARGIN = 0.08  # of the span, on either side
REACH = 0.6  # of the points' span: how far beyond them whiskers may widen the axis
LEAST_SPAN = 0.02
STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Axis:
    """A range of values; what lies outside stands at its ends."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return how far along the axis a value stands, in percent."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def list_ticks(self, wanted: int = 5) -> list[float]:
        """Return round values along the axis, about as many as `wanted`."""
        raw = (self.high - self.low) / wanted
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in STEPS if factor * power >= raw * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]


def fit_axis(points: Sequence[float], whiskers: Sequence[float] = ()) -> Axis:
    """Return an axis that holds all points, and whiskers' ends as far as they leave the points apart."""
    low, high = min(points), max(points)
    span = max(high - low, LEAST_SPAN)
    low = max(min([low, *whiskers]), low - REACH * span)
    high = min(max([high, *whiskers]), high + REACH * span)
    margin = MARGIN * max(high - low, LEAST_SPAN)
    return Axis(low - margin, high + margin)
