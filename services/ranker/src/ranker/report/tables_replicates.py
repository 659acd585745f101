"""The table of lanes that were made over several draws: each replicate's value, mean and spread. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lanekit.results.ranking import DrawSpread, Interval, RankedLane, Ranking
from ranker.report.formats import EMPTY, round_number, show_interval
from ranker.report.table import LANE, Badge, Cell, Head, Row, Table, make_row

NOTE = (
    "Every replicate has its own calibration set where the lane calibrates and its own seed where it trains; "
    "values stand in the order of the replicates. ± is the standard deviation between draws; an interval "
    "holds the choice of the items and of the draw. The package is of the first, named before any was "
    "measured: the best of several draws owes its place to luck, and would not keep it on other items."
)
HEADS = (
    LANE,
    Head("replicates", "반복"),
    Head("Perf, mean ± draws", "평균 품질", below="interval"),
    Head("Perf of each", "반복별 품질", "text"),
    Head("score, mean ± draws", "평균 점수", below="interval"),
    Head("score of each", "반복별 점수", "text"),
    Head("package", "제출 모델", "text"),
)


def tabulate_replicates(ranking: Ranking) -> Table | None:
    """Build the table; None where no lane has replicates."""
    repeated = [lane for lane in ranking.lanes if lane.replicates]
    if not repeated:
        return None
    benchmarks = list(dict.fromkeys(n for x in repeated if x.replicates for n in x.replicates.benchmarks))
    details = [Head(f"{name} ± draws", is_detail=True) for name in benchmarks]
    rows = tuple(_make_row(ranking, lane, benchmarks) for lane in repeated)
    return Table("Replicates over draws", "추출별 반복", NOTE, (*HEADS, *details), rows)


def _make_row(ranking: Ranking, lane: RankedLane, benchmarks: Sequence[str]) -> Row:
    found = lane.replicates
    assert found
    n_scored = sum(score is not None for score in found.scores)
    n_asked = len(found.lanes)
    return make_row(
        ranking,
        lane,
        Cell(str(n_asked) if n_scored == n_asked else f"{n_scored} of {n_asked}"),
        _show_spread(found.perf, found.perf_interval),
        Cell(_list_values(found.perfs)),
        _show_spread(found.score, lane.score_interval),
        Cell(_list_values(found.scores)),
        Cell(f"the first's: {found.lanes[0]}" if lane.rank is not None else EMPTY),
        *(_show_spread(found.benchmarks.get(name)) for name in benchmarks),
    )


def _show_spread(spread: DrawSpread | None, interval: Interval | None = None) -> Cell:
    if spread is None:
        return Cell(EMPTY)
    return Cell(f"{spread.mean:.4f} ± {spread.deviation:.4f}", show_interval(interval))


def _list_values(values: Sequence[float | None]) -> str:
    return ", ".join(map(round_number, values))


def list_replicate_badges(lane: RankedLane) -> list[Badge]:
    """Return that a lane's Perf and score are means, with the spread; nothing for one draw."""
    found = lane.replicates
    if found is None or found.score is None:
        return []
    n_scored = sum(score is not None for score in found.scores)
    spread = f"score ± {found.score.deviation:.4f} between draws; the package is the first's"
    return [Badge(f"× mean of {n_scored} draws", f"{n_scored}회 평균", detail=spread)]
