"""The ratio of two models' times: its value and how sure it is."""

from __future__ import annotations

import math

import pytest

from evaluator.speed.ratio import estimate_ratio


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    """Pairs that drift together have one ratio, whatever the medians of the two series are."""
    assert estimate_ratio([0.5, 1.0, 9.0], [1.0, 2.0, 10.0]).value == pytest.approx(0.5)
    steady = estimate_ratio([0.8, 0.4, 1.6], [1.0, 0.5, 2.0])
    assert (steady.value, steady.low, steady.high) == pytest.approx((0.8, 0.8, 0.8))
    assert steady.half_width == pytest.approx(0)


def test_of_an_even_number_of_pairs_it_is_the_geometric_mean_of_the_middle_two() -> None:
    assert estimate_ratio([0.1, 0.4], [0.1, 0.1]).value == pytest.approx(2.0)
    assert estimate_ratio([0.1, 0.1], [0.1, 0.4]).value == pytest.approx(0.5)


def test_an_interval_by_hand() -> None:
    """Two pairs with log ratios ± 0.01: s = 0.01·√2, t(1) at 97.5 % is 12.706."""
    found = estimate_ratio([math.exp(0.01), math.exp(-0.01)], [1.0, 1.0])
    reach = 12.7062 * 0.01 * math.sqrt(2) * math.sqrt(math.pi / 2) / math.sqrt(2)
    assert found.value == pytest.approx(1.0)
    assert found.low == pytest.approx(math.exp(-reach), rel=1e-4)
    assert found.high == pytest.approx(math.exp(reach), rel=1e-4)


def test_one_pair_has_no_interval() -> None:
    one = estimate_ratio([0.5], [1.0])
    assert (one.value, one.low, one.high, one.half_width) == (0.5, None, None, math.inf)


@pytest.mark.parametrize(("n_candidate", "n_baseline"), [(0, 0), (1, 2), (2, 1), (0, 1)])
def test_series_that_are_no_pairs_are_refused(n_candidate: int, n_baseline: int) -> None:
    with pytest.raises(ValueError) as caught:
        estimate_ratio([1.0] * n_candidate, [1.0] * n_baseline)
    assert str(caught.value) == f"{n_candidate} and {n_baseline} repeats are no pairs"
