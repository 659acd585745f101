"""Which lanes are on the front of quality, speed and size."""

from __future__ import annotations

import math

import pytest

from lanekit.results.ranking import RankedLane
from lanekit.results.schema import LaneRecord
from ranker.scoring.front import find_front, locate_lane, mark_front


def make_lane(
    perf: float | None = 0.5,
    gain: float | None = 0.25,
    size_bytes: int | None = 100,
    *,
    score: float | None = 0.4,
    contamination: dict[str, int] | None = None,
) -> RankedLane:
    record = LaneRecord(lane="a", size_bytes=size_bytes, contamination=contamination)
    return RankedLane(rank=None, record=record, perf=perf, speed_norm=gain, score=score)


def mark(*lanes: RankedLane) -> list[bool]:
    mark_front(lanes)
    return [lane.on_front for lane in lanes]


def test_the_front_by_hand() -> None:
    points = [(1, 0, -9), (0.9, 0.5, -4), (0.9, 0.5, -4), (0.9, 0.4, -4), (0.8, 0.4, -3), (0.5, 0.1, -9)]
    #          quality     equal twins: both on it           slower         smallest        worse in all
    assert find_front([tuple(map(float, p)) for p in points]) == [True, True, True, False, True, False]
    assert find_front([]) == []


@pytest.mark.parametrize(
    ("lane", "point"),
    [
        (make_lane(), (0.5, 0.25, -100.0)),
        (make_lane(0.0, 0.0), (0.0, 0.0, -100.0)),
        (make_lane(size_bytes=None), (0.5, 0.25, -math.inf)),
        (make_lane(perf=None), None),
        (make_lane(gain=None), None),
    ],
)
def test_a_lane_is_placed_by_quality_gain_and_smallness(
    lane: RankedLane, point: tuple[float, float, float] | None
) -> None:
    assert locate_lane(lane) == point


@pytest.mark.parametrize(
    ("worse", "off"),
    [
        (make_lane(perf=0.4), True),
        (make_lane(gain=0.2), True),
        (make_lane(size_bytes=101), True),
        (make_lane(size_bytes=None), True),
        (make_lane(), False),
        (make_lane(perf=0.4, size_bytes=99), False),
        (make_lane(perf=0.4, gain=0.3), False),
    ],
)
def test_one_worse_coordinate_takes_a_lane_off_unless_another_is_better(worse: RankedLane, off: bool) -> None:
    assert mark(make_lane(), worse) == [True, not off]
    assert mark(worse, make_lane()) == [not off, True]


@pytest.mark.parametrize(
    "absent", [make_lane(perf=0.9, contamination={"x": 1}), make_lane(perf=0.9, score=None)]
)
def test_a_lane_contaminated_or_without_a_score_is_not_on_it_and_takes_none_off(absent: RankedLane) -> None:
    assert mark(absent, make_lane(), make_lane(perf=0.4)) == [False, True, False]


def test_a_lane_without_a_place_is_passed_over() -> None:
    assert mark(make_lane(perf=None), make_lane(contamination={"x": 0})) == [False, True]
