"""The tables of the verdicts against the margin: of Perf, and of each benchmark. Pure."""

from __future__ import annotations

from lanekit.results.ranking import Interval, MarginTest, RankedLane, Ranking, Verdict
from ranker.report.formats import EMPTY, show_interval
from ranker.report.table import LANE, Badge, Cell, Head, Table, make_row

HEADS = (
    LANE,
    Head("verdict", "판정", "text"),
    Head("Δ, points", "차이(%p)", below="interval"),
    Head("loss allowed", "허용 손실(%p)"),
    Head("could show", "검출 가능(%p)"),
    Head("items", "문항"),
    Head("items needed", "필요 문항"),
)
NOTE = (
    "Is the loss below {margin:g} % of the baseline's value? Δ, the loss allowed and what could be shown are "
    "percentage points: 1 is 0.01 of a value. No worse: the whole interval of the paired difference lies "
    "above −(the loss allowed); worse: below it; else it cannot be told. Could show: the smallest difference "
    "that these items show with 80 % power. Items needed: to settle it with 80 % power, were the difference "
    "seen the true one."
)
DRAWN = (
    " A lane with replicates is judged by their mean, whose interval holds the spread between draws: what "
    "that leaves open, no number of items settles."
)
PERF_TERMS = " Perf's are those of all its benchmarks together, and as many times more of each are needed."
BADGES: dict[Verdict, Badge] = {
    "no worse": Badge("no worse", "저하 없음", "good"),
    "worse": Badge("worse", "저하", "bad"),
    "cannot tell": Badge("cannot tell", "판정 불가"),
}


def tabulate_perf_margins(ranking: Ranking) -> Table | None:
    """Build the table of Perf's verdicts, with how it is to be read; None where no lane has one."""
    tests = [(lane, lane.perf_margin_test) for lane in ranking.lanes]
    note = NOTE.format(margin=100 * (ranking.margin or 0)) + PERF_TERMS
    if any(lane.replicates and lane.replicates.perf for lane, test in tests if test):
        note += DRAWN
    return _tabulate(ranking, tests, "Perf against the margin", "품질 저하 판정", note)


def tabulate_margins(ranking: Ranking, benchmark: str) -> Table | None:
    """Build the table of one benchmark's verdicts, without a title; None where no lane has one."""
    found = [(lane, lane.benchmark_statistics.get(benchmark)) for lane in ranking.lanes]
    return _tabulate(ranking, [(lane, known.margin_test if known else None) for lane, known in found])


def make_verdict_badge(test: MarginTest) -> Badge:
    """Return Perf's verdict as a badge, the interval as its detail."""
    badge = BADGES[test.verdict]
    detail = f"Perf {show_points(test.difference)} points {show_points_interval(test.interval)}"
    detail += f", allowed −{show_points(test.margin, signed=False)}"
    return Badge(f"Perf: {badge.words}", badge.korean, badge.tone, detail)


def show_points(fraction: float | None, *, signed: bool = True) -> str:
    """Return a fraction in percentage points, e.g. "−0.35"."""
    if fraction is None:
        return EMPTY
    return f"{100 * fraction:{'+' if signed else ''}.2f}".replace("-", "−")


def show_points_interval(interval: Interval) -> str:
    """Return an interval in percentage points, e.g. "[−0.90, 0.20]"."""
    return show_interval(interval, 2, 100)


def list_values(test: MarginTest) -> list[tuple[str, str]]:
    """Return what a table shows of a test, each value with what stands below it, in the heads' order."""
    needed = EMPTY
    if test.verdict == "cannot tell":
        needed = "no number" if test.n_items_needed is None else f"{test.n_items_needed:,}"
    return [
        (test.verdict, ""),
        (show_points(test.difference), show_points_interval(test.interval)),
        (show_points(test.margin, signed=False), ""),
        (show_points(test.detectable, signed=False), ""),
        (f"{test.n_items:,}", ""),
        (needed, ""),
    ]


def _tabulate(
    ranking: Ranking,
    tests: list[tuple[RankedLane, MarginTest | None]],
    title: str = "",
    korean: str = "",
    note: str = "",
) -> Table | None:
    rows = []
    for lane, test in tests:
        if test:
            _, *values = list_values(test)
            cells = (Cell("", badges=(BADGES[test.verdict],)), *(Cell(*value) for value in values))
            rows.append(make_row(ranking, lane, *cells))
    return Table(title, korean, note, HEADS, tuple(rows)) if rows else None
