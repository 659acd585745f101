"""The Pareto front of quality, speed and size. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

from lanekit.results.ranking import RankedLane

Point = tuple[float, float, float]


def find_front(points: Sequence[Point]) -> list[bool]:
    """Return for each point whether it is on the front; each coordinate is better when higher.

    A point is off the front where another is at least as good in all coordinates and better in one. Equal
    points are on it or off it together.
    """
    return [_is_on_front(point, points) for point in points]


def locate_lane(lane: RankedLane) -> Point | None:
    """Return (Perf, speed gain, −bytes); None where quality or speed is not known.

    An unknown size counts as worse than any.
    """
    if lane.perf is None or lane.speed_norm is None:
        return None
    size = lane.record.size_bytes
    return lane.perf, lane.speed_norm, -math.inf if size is None else -float(size)


def mark_front(lanes: Sequence[RankedLane]) -> None:
    """Set `on_front` of every lane with a score, the baseline among them.

    A contaminated lane is not on it and takes no other off it.
    """
    clean = [lane for lane in lanes if not lane.record.is_contaminated]
    scored = [(lane, point) for lane in clean if lane.score is not None and (point := locate_lane(lane))]
    points = [point for _, point in scored]
    for lane, point in scored:
        lane.on_front = _is_on_front(point, points)


def _is_on_front(point: Point, points: Sequence[Point]) -> bool:
    return not any(other != point and all(map(operator.ge, other, point)) for other in points)
