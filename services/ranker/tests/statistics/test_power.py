"""Detectable differences and needed items: by hand, and against simulated tests and verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ranker.statistics.difference import Difference, combine_differences, find_score_interval
from ranker.statistics.power import combine_detectable, count_needed_items, find_detectable

Z, Z_POWER = stats.norm.ppf(0.975), stats.norm.ppf(0.8)


def make(value: float, n_items: int, square: float, step: float = 1.0) -> Difference:
    return Difference(value, value - 1, value + 1, n_items, square, step)


def test_a_detectable_difference_solves_its_equation() -> None:
    found = find_detectable(make(0.0, 2822, 0.05), 0.95)
    assert found is not None
    assert math.sqrt(2822) * found == pytest.approx(
        Z * math.sqrt(0.05) + Z_POWER * math.sqrt(0.05 - found**2), rel=1e-9
    )
    assert found == pytest.approx((Z + Z_POWER) * math.sqrt(0.05 / 2822), rel=0.01)


def test_it_falls_with_the_items_and_rises_with_their_changes_confidence_and_power() -> None:
    def find(n_items: int, square: float, confidence: float = 0.95, power: float = 0.8) -> float:
        found = find_detectable(make(0.0, n_items, square), confidence, power)
        assert found is not None
        return found

    assert find(400, 0.1) == pytest.approx(find(100, 0.1) / 2, rel=0.1)
    assert find(400, 0.1) < find(400, 0.2) < find(400, 0.2, 0.99) < find(400, 0.2, 0.99, 0.9)


@pytest.mark.parametrize("step", [1.0, 0.25])
def test_without_a_differing_item_some_eight_must_change(step: float) -> None:
    found = find_detectable(make(0.0, 10_000, 0.0, step), 0.95)
    assert found is not None and found / step * 10_000 == pytest.approx(7.85, rel=0.01)
    assert find_detectable(make(0.0, 3, 0.0), 0.95) is None  # all three changed, and still nothing shows
    assert find_detectable(make(0.0, 4, 0.0), 0.95) is not None


@pytest.mark.parametrize(("n_items", "share"), [(60, 0.05), (60, 0.2), (200, 0.0), (600, 0.1), (2800, 0.03)])
def test_the_exact_test_shows_a_detectable_difference_in_some_four_of_five_samples(
    n_items: int, share: float
) -> None:
    difference = find_detectable(make(0.0, n_items, share), 0.95)
    assert difference is not None
    differing = max(share, difference)
    odds = (differing - difference) / 2, (differing + difference) / 2, 1 - differing
    drawn, times = np.unique(
        np.random.default_rng(5).multinomial(n_items, odds, size=1500)[:, :2], axis=0, return_counts=True
    )
    fewer = drawn.min(axis=1)
    p_values = np.minimum(1.0, 2 * stats.binom.cdf(fewer, drawn.sum(axis=1), 0.5))
    assert 0.7 <= times[p_values < 0.05].sum() / 1500 <= 0.87


def test_a_mean_of_benchmarks_shows_what_its_parts_do_together() -> None:
    found = {"a": make(0.0, 100, 0.04), "b": make(0.0, 300, 0.03), "c": make(0.0, 2, 0.0)}
    a, b = (find_detectable(found[name], 0.95) for name in ("a", "b"))
    assert a and b
    assert combine_detectable(found, {"a": 1, "b": 3}, 0.95) == pytest.approx(math.hypot(a / 4, 3 * b / 4))
    assert combine_detectable(found, {"a": 1, "c": 1}, 0.95) is None


def test_needed_items_by_hand() -> None:
    square, margin = 0.05, 0.004
    under = (square + math.sqrt(square**2 + 4 * margin**2)) / 2
    expected = ((Z * math.sqrt(under) + Z_POWER * math.sqrt(square)) / margin) ** 2
    assert count_needed_items(make(0.0, 100, square), margin, 0.95) == math.ceil(expected)
    nearer = count_needed_items(make(-0.002, 100, square), margin, 0.95)
    assert nearer and nearer == pytest.approx(4 * expected, rel=0.01)
    assert count_needed_items(make(-0.004, 100, square), margin, 0.95) is None  # it lies on the margin
    alike = count_needed_items(make(0.0, 60, 0.0), margin, 0.95)
    assert alike == math.ceil(Z**2 / margin)  # where Tango's interval of equal items is as wide as the margin
    assert count_needed_items(make(0.0, 10**6, 0.0), margin, 0.95) == 10**6 + 1


def test_needed_items_of_a_mean_are_those_of_all_its_benchmarks() -> None:
    """Four alike want of each what a fourth of the variance does."""
    parts = {name: make(0.0, 500, 0.05) for name in "abcd"}
    mean = combine_differences(parts, dict.fromkeys("abcd", 0.25))
    alone = count_needed_items(make(0.0, 500, 0.05), 0.004, 0.95)
    together = count_needed_items(mean, 0.004, 0.95)
    assert alone and together == pytest.approx(alone, rel=0.02)  # over four, each a fourth as many


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "difference", "margin"),
    [(0.05, 0.0, 0.01), (0.002, 0.0, 0.004), (0.1, -0.02, 0.01), (0.03, -0.002, 0.0045)],
)
def test_the_needed_items_settle_the_verdict_in_some_four_of_five_samples(
    share: float, difference: float, margin: float
) -> None:
    n_items = count_needed_items(make(difference, 60, share), margin, 0.95)
    assert n_items is not None
    odds = (share + difference) / 2, (share - difference) / 2, 1 - share
    settled = 0
    for n_better, n_worse, _ in np.random.default_rng(6).multinomial(n_items, odds, size=400):
        low, high = find_score_interval(int(n_better), int(n_worse), n_items, 0.95)
        settled += low > -margin if difference > -margin else high < -margin
    assert 0.72 <= settled / 400 <= 0.9
