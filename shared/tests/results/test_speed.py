"""The ratio of two series of repeats."""

from __future__ import annotations

import math

import pytest

from lanekit.results.speed import take_median_ratio


def test_it_is_the_median_pair_by_pair() -> None:
    assert take_median_ratio([1.0, 6.0, 2.0], [1.0, 2.0, 1.0]) == pytest.approx(2.0)


def test_the_middle_two_give_their_geometric_mean_and_the_inverse_is_the_inverse() -> None:
    one, other = [0.1, 0.4], [0.1, 0.1]
    assert take_median_ratio(one, other) == pytest.approx(2.0)
    assert take_median_ratio(other, one) == pytest.approx(0.5)


@pytest.mark.parametrize(("one", "other"), [([0.0], [1.0]), ([1.0], [0.0]), ([1.0, -1.0], [1.0, 1.0])])
def test_a_time_that_is_not_positive_gives_no_ratio(one: list[float], other: list[float]) -> None:
    assert math.isnan(take_median_ratio(one, other))
