"""Paired tests of a lane against the baseline on the same items, and Holm's adjustment. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

MCNEMAR = "exact McNemar"
SIGN_FLIP = "sign-flip permutation"
BATCH_VALUES = 2_000_000  # of the permutations held at once: 16 MB


def compare_pairs(
    lane: np.ndarray, base: np.ndarray, resamples: int, rng: np.random.Generator
) -> tuple[str, float]:
    """Return the test's name and its two-sided p-value, of values (n_items,) in the same order.

    Right-or-wrong values: McNemar's exact test, which is a sign test on the items that only one side has
    right (McNemar 1947). Others: a permutation test of the mean difference that flips the differences'
    signs, exact where there are no more than `resamples` ways to flip them. Equal pairs tell nothing and
    are left out, which changes neither test.
    """
    differences = (lane - base)[lane != base]
    is_binary = bool(np.isin(lane, (0.0, 1.0)).all() and np.isin(base, (0.0, 1.0)).all())
    name = MCNEMAR if is_binary else SIGN_FLIP
    if not len(differences):
        return name, 1.0
    if is_binary:
        return name, float(stats.binomtest(int((lane > base).sum()), len(differences)).pvalue)
    if len(differences) == 1:  # scipy wants two observations; both flips are as far from 0
        return name, 1.0
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",  # pragma: no mutate (scipy takes capitals too)
        n_resamples=resamples,
        batch=max(1, BATCH_VALUES // len(differences)),
        rng=rng,
    )
    return name, float(found.pvalue)


def adjust_holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return the p-values after Holm's step-down adjustment (Holm 1979), by the same names."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    ordered = sorted(p_values, key=p_values.__getitem__)
    for position, name in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - position) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
