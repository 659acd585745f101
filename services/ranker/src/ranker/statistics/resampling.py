"""Bootstrap resamples of items, and draws for the few repeats of a timing; seeded, in bounded memory.

Intervals are percentile intervals (Efron 1979). They follow any monotone transformation and come from the
same resamples for values, ratios, scores and differences of scores, so they agree with one another; BCa would
want a jackknife of each and has no value where all items agree. With hundreds of items its correction is
small. Where all of few items have one value, the interval is that point, and too narrow.

Three repeats are too few to resample: no median of theirs leaves their range, which holds the true one in
only three of four cases. Gains are drawn from Student's t instead, see `draw_gains`.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

from lanekit.results.ranking import Interval

CHUNK_DRAWS = 2_000_000  # drawn at once: some 50 MB
LEAST_FINITE = 0.99  # of the resamples, for an interval
LARGEST_LOG = 50.0  # of a ratio drawn: t has heavy tails
DECIMALS = 10  # of an interval's ends: sums of another order differ beyond them


def make_rng(seed: int, purpose: str) -> np.random.Generator:
    """Return a generator for one purpose: what is drawn for it depends on no other lane or benchmark."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def resample_means(values: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return the columns' means (resamples, n_columns) over items drawn with replacement.

    `values` is (n_items, n_columns), NaN where an item has no value: it counts in no mean. Each resample
    draws the same items for all columns. Counts times values is a matrix product: no resample is laid out.
    """
    n_items = len(values)
    is_known = np.isfinite(values)
    known = np.where(is_known, values, 0.0)
    has_value = is_known.astype(np.float64)  # pragma: no mutate (equal numbers; floats are quicker)
    per_chunk = max(1, CHUNK_DRAWS // n_items)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, per_chunk):
        size = min(per_chunk, resamples - start)
        drawn = rng.integers(n_items, size=(size, n_items))
        drawn += np.arange(size)[:, None] * n_items
        counts = np.bincount(drawn.ravel(), minlength=size * n_items).reshape(size, n_items)
        weights = counts.astype(np.float64)  # pragma: no mutate (as above)
        means[start : start + size] = divide(weights @ known, weights @ has_value)
    return means


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotients, NaN where the denominator is 0."""
    quotients = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=quotients, where=denominator > 0)


def draw_gains(
    seconds: list[float], base_seconds: list[float], draws: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Return speed gains (draws,), 1 − ratio, whose spread is that of n repeats measured in pairs.

    The two lists are s/token of the repeats, candidate and baseline in turn. A draw's log ratio is the median
    of the pairs', the value that is scored, plus Student's t with n − 1 degrees of freedom (Student 1908)
    times the standard error: the standard deviation of the pairs' log ratios over √n, times √(π/2), the
    asymptotic ratio of a median's standard error to a mean's for normal noise (Laplace; van der Vaart 1998,
    ch. 21). For few repeats the true ratio is smaller, so the interval is rather too wide.

    Returns:
        None for one repeat, or for lists that are no pairs: nothing is known of the spread.
    """
    n_pairs = len(seconds)
    if n_pairs < 2 or n_pairs != len(base_seconds):
        return None
    logs = np.log(np.array([seconds, base_seconds]))
    spread = float((logs[0] - logs[1]).std(ddof=1))
    centre = float(np.median(logs[0] - logs[1]))
    error = spread * math.sqrt(math.pi / 2) / math.sqrt(n_pairs)
    logs_drawn = centre + error * rng.standard_t(n_pairs - 1, size=draws)
    return 1 - np.exp(np.minimum(logs_drawn, LARGEST_LOG))


def find_interval(draws: np.ndarray, confidence: float) -> Interval | None:
    """Return the percentile interval of finite draws; None where over 1 % have no value (x/0)."""
    finite = draws[np.isfinite(draws)]
    if not len(draws) or len(finite) < LEAST_FINITE * len(draws):
        return None
    low, high = np.percentile(finite, [50 * (1 - confidence), 50 * (1 + confidence)])
    return Interval(low=round(float(low), DECIMALS), high=round(float(high), DECIMALS))
