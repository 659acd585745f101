"""Bootstrap resamples of items and of timing repeats, as means and medians; seeded, in bounded memory.

Intervals are percentile intervals (Efron 1979). They follow any monotone transformation and come from the
same resamples for values, ratios, scores and differences of scores, so they agree with one another; BCa would
want a jackknife of each and has no value where all items agree. With hundreds of items its correction is
small. Where all of few items have one value, the interval is that point, and too narrow.
"""

from __future__ import annotations

import zlib

import numpy as np

from lanekit.results import Interval

CHUNK_DRAWS = 2_000_000  # drawn at once: some 50 MB
LEAST_FINITE = 0.99  # of the resamples, for an interval
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
    is_known = np.isfinite(values).astype(np.float64)
    has_gaps = not is_known.all()
    sums = np.where(is_known > 0, values, 0.0)
    per_chunk = max(1, CHUNK_DRAWS // n_items)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, per_chunk):
        size = min(per_chunk, resamples - start)
        drawn = rng.integers(0, n_items, size=(size, n_items))
        drawn += np.arange(size)[:, None] * n_items
        counts = np.bincount(drawn.ravel(), minlength=size * n_items).reshape(size, n_items)
        weights = counts.astype(np.float64)
        n_drawn = weights @ is_known if has_gaps else np.full((size, values.shape[1]), float(n_items))
        means[start : start + size] = divide(weights @ sums, n_drawn)
    return means


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotients, NaN where the denominator is 0."""
    quotients = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=quotients, where=denominator > 0)


def resample_gains(
    seconds: list[float], base_seconds: list[float], resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Return speed gains (resamples,), 1 − median/base median, over a sitting's repeats drawn in pairs.

    The two lists are s/token of the repeats, candidate and baseline in turn.
    """
    pairs = np.array([seconds, base_seconds])
    drawn = rng.integers(0, pairs.shape[1], size=(resamples, pairs.shape[1]))
    medians = np.median(pairs[:, drawn], axis=2)
    return 1 - medians[0] / medians[1]


def find_interval(draws: np.ndarray, confidence: float) -> Interval | None:
    """Return the percentile interval of finite draws; None where over 1 % have no value (x/0)."""
    finite = draws[np.isfinite(draws)]
    if not len(draws) or len(finite) < LEAST_FINITE * len(draws):
        return None
    low, high = np.percentile(finite, [50 * (1 - confidence), 50 * (1 + confidence)])
    return Interval(low=round(float(low), DECIMALS), high=round(float(high), DECIMALS))
