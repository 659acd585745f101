"""Axes of the page's charts: where values stand, round ticks, and whiskers that do not squeeze the points."""

from __future__ import annotations

import pytest

from ranker.report.axis import Axis, fit_axis


def test_values_stand_in_percent_and_what_lies_outside_at_the_ends() -> None:
    axis = Axis(-1.0, 3.0)
    assert [axis.place(value) for value in (-1.0, 0.0, 3.0, -9.0, 9.0)] == [0.0, 25.0, 100.0, 0.0, 100.0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-1.05, 0.6, [-1.0, -0.5, 0.0, 0.5]),
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.955, 1.004, [0.96, 0.97, 0.98, 0.99, 1.0]),
        (-30.0, 12.0, [-30.0, -20.0, -10.0, 0.0, 10.0]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert Axis(low, high).list_ticks() == pytest.approx(expected)


def test_an_axis_holds_its_points_and_the_near_ends_of_whiskers() -> None:
    axis = fit_axis([0.0, 1.0], [-0.1, 1.2])
    assert 0 < axis.place(-0.1) < axis.place(0.0) < axis.place(1.0) < axis.place(1.2) < 100


def test_a_whisker_that_is_very_long_leaves_the_points_apart() -> None:
    axis = fit_axis([0.0, 1.0], [-40.0])
    assert axis.place(-40.0) == 0.0
    assert axis.place(1.0) - axis.place(0.0) > 50


def test_equal_points_have_an_axis_too() -> None:
    axis = fit_axis([1.0, 1.0])
    assert axis.low < 1.0 < axis.high
    assert axis.list_ticks()
