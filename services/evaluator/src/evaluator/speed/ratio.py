"""The ratio of two models' seconds per token, from repeats measured in pairs, and how sure it is. Pure."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from lanekit.results.speed import take_median_ratio

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """Candidate over baseline, with its 95 % interval; the ends are None for a single pair."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half_width(self) -> float:
        """Half the interval's width as a share of the value; infinite where the spread is not known."""
        if self.low is None or self.high is None:
            return math.inf
        return (self.high - self.low) / 2 / self.value


def estimate_ratio(candidate: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """Estimate the ratio of two series of seconds per token, pair by pair.

    The value is the median of the pairs' ratios, so that one disturbed repeat moves it little. The interval
    is Student's t with n − 1 degrees of freedom (Student 1908) on the logarithms, the standard error times
    √(π/2), the asymptotic ratio of a median's to a mean's for normal noise (Laplace; van der Vaart 1998,
    ch. 21). For few pairs it is rather too wide. Where one stops as soon as it is within ± 1 %, it held the
    true ratio in 93 to 97 % of 1,500 simulated measurements each, with noise of 0.5, 2 and 5 %
    (`tests/speed`).

    Raises:
        ValueError: the series are empty or no pairs.
    """
    if not candidate or len(candidate) != len(baseline):
        raise ValueError(f"{len(candidate)} and {len(baseline)} repeats are no pairs")
    logs = [math.log(ratio) for ratio in map(operator.truediv, candidate, baseline)]
    value = take_median_ratio(candidate, baseline)
    if len(logs) < 2:
        return Ratio(value)
    error = statistics.stdev(logs) * math.sqrt(math.pi / 2) / math.sqrt(len(logs))
    reach = error * float(student.ppf((1 + CONFIDENCE) / 2, len(logs) - 1))
    return Ratio(value, value * math.exp(-reach), value * math.exp(reach))
