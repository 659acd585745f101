"""Where lanes stand between speed and quality, and what is written there: in picture and page. Pure."""

from __future__ import annotations

from lanekit.results.ranking import RankedLane
from ranker.report.formats import join_ranks
from ranker.scoring.front import find_front

NEAR = 0.045  # of an axis
SLOWEST_SHOWN = -1.0  # a lane slower than this gain stands at the edge, its gain beside its rank

Point = tuple[float, float]  # speed gain, quality
BASE_POINT: Point = (0.0, 1.0)


def is_off(lane: RankedLane) -> bool:
    """Whether a lane is too slow to be shown where it stands."""
    return (lane.speed_norm or 0.0) < SLOWEST_SHOWN


def locate(lane: RankedLane) -> Point:
    """Return where a scored lane is shown."""
    return (max(lane.speed_norm or 0.0, SLOWEST_SHOWN), lane.perf_norm or 0.0)


def find_plane_front(scored: list[RankedLane]) -> list[Point]:
    """Return the front of speed and quality alone, the baseline's place included, by speed.

    Contaminated lanes are left out.
    """
    clean = [lane for lane in scored if not is_off(lane) and not lane.record.is_contaminated]
    points = sorted({BASE_POINT, *(locate(lane) for lane in clean)})
    on_front = find_front([(x, y, 0.0) for x, y in points])
    return [point for point, is_on in zip(points, on_front, strict=True) if is_on]


def measure_spans(scored: list[RankedLane]) -> Point:
    """Return the widths, in speed and in quality, of what is shown: the lanes and the baseline."""
    across, up = zip(BASE_POINT, *map(locate, scored), strict=True)
    return max(across) - min(across), max(up) - min(up)


def are_near(one: Point, other: Point, spans: Point) -> bool:
    """Whether two points stand too close to be told apart at a glance."""
    return all(abs(a - b) <= NEAR * span for a, b, span in zip(one, other, spans, strict=True))


def label_points(scored: list[RankedLane]) -> list[tuple[Point, str]]:
    """Return points and their labels; lanes too close for labels of their own share one, at the rightmost."""
    off = [lane for lane in scored if is_off(lane)]
    labels = [(locate(x), f"{x.rank} (−{abs(100 * (x.speed_norm or 0)):.0f} %)") for x in off]
    points = {lane.rank: locate(lane) for lane in scored if lane.rank is not None and not is_off(lane)}
    spans = measure_spans(scored)
    clusters: list[list[int]] = []
    for rank in sorted(points, key=lambda rank: (-points[rank][0], rank)):
        for cluster in clusters:
            if are_near(points[cluster[0]], points[rank], spans):
                cluster.append(rank)
                break
        else:
            clusters.append([rank])
    return labels + [(points[cluster[0]], join_ranks(sorted(cluster))) for cluster in clusters]


def find_tied_runs(scored: list[RankedLane]) -> list[tuple[int, int]]:
    """Return the longest runs of lanes that cannot be told apart, as first and last position."""
    places = {lane.record.lane: place for place, lane in enumerate(scored)}
    runs: list[tuple[int, int]] = []
    for place, lane in enumerate(scored):
        last = max([place, *(places[name] for name in lane.tied_with if name in places)])
        if last > place and not any(first <= place and last <= end for first, end in runs):
            runs.append((place, last))
    return runs


def stack_runs(runs: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return runs as (column, first, last); those that share a position stand in different columns."""
    ends: list[int] = []
    placed = []
    for first, last in runs:
        column = next((c for c, end in enumerate(ends) if end < first), len(ends))
        ends[column : column + 1] = [last]
        placed.append((column, first, last))
    return placed
