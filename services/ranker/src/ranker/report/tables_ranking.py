"""The main table, and what is to be known of a lane beside its numbers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.screen import ScreenResult
from ranker.report.formats import (
    EMPTY,
    KOREAN_METRICS,
    N_BEST,
    join_ranks,
    map_ranks,
    round_number,
    show_gain,
    show_interval,
    show_lane,
    show_mb,
    show_percent,
    show_rank,
    show_time,
)
from ranker.report.plots import choose_colours
from ranker.report.table import LANE, Badge, Cell, Head, Row, Table
from ranker.report.tables_margin import make_verdict_badge
from ranker.report.tables_replicates import list_replicate_badges
from ranker.report.tables_screen import show_kl

NEEDS_DETAIL = "evaluated and timed with engine arguments that no package carries"


def tabulate_ranking(ranking: Ranking, benchmarks: Sequence[str]) -> Table:
    """Build the main table: every lane, with the benchmarks' values as details."""
    metrics = {n: r.metric for lane in ranking.lanes for n, r in lane.record.benchmarks.items()}
    has_screen = any(lane.record.screen for lane in ranking.lanes)
    heads = (
        Head("rank", "순위", "text"),
        LANE,
        Head("group", "그룹", "text"),
        Head("score", "점수", below="interval"),
        Head("Perf", "품질"),
        Head("Perf/base", "기준 대비 품질"),
        Head("ms/token", "토큰당 시간"),
        Head("speed gain", "속도 향상"),
        Head("MB", "크기"),
        *([Head("KL", "기준과의 KL")] if has_screen else []),
        *(Head(n, KOREAN_METRICS.get(metrics.get(n, ""), ""), is_detail=True) for n in benchmarks),
        Head("status", "상태", "text"),
    )
    colours, ranks = choose_colours(ranking), map_ranks(ranking)
    rows = []
    for lane in ranking.lanes:
        record = lane.record
        cells = (
            Cell(show_rank(lane)),
            Cell(show_lane(record), record.title, lane=record.lane),
            Cell(record.group, hue=colours[record.group]),
            *_list_numbers(lane),
            *([_show_screen(record.screen)] if has_screen else []),
            *_list_values(lane, benchmarks),
            Cell("", badges=(judge_status(lane), *list_badges(lane, ranks))),
        )
        rows.append(Row(cells, lane is ranking.lanes[0]))
    return Table("Ranking", "순위표", heads=heads, rows=tuple(rows))


def _list_values(lane: RankedLane, benchmarks: Sequence[str]) -> list[Cell]:
    results = lane.record.benchmarks
    return [Cell(round_number(results[n].value if n in results else None)) for n in benchmarks]


def _show_screen(screen: ScreenResult | None) -> Cell:
    if screen is None:
        return Cell(EMPTY)
    return Cell(show_kl(screen.kl_mean), f"top-1 {show_percent(screen.same_top)}")


def _list_numbers(lane: RankedLane) -> list[Cell]:
    record, speed = lane.record, lane.record.speed
    time = Cell(EMPTY)
    if speed:
        milliseconds = show_time(speed.s_per_token, speed.s_per_token_all, 2)
        time = Cell(f"{milliseconds} (cpu)") if speed.is_cpu else Cell(milliseconds, speed.device)
    is_best = lane.rank is not None and lane.rank <= N_BEST
    return [
        Cell(round_number(lane.score), show_interval(lane.score_interval), is_best),
        Cell(round_number(lane.perf)),
        Cell(round_number(lane.perf_norm), show_interval(lane.perf_norm_interval)),
        time,
        Cell(show_gain(lane)),
        Cell(show_mb(record.size_bytes)),
    ]


def judge_status(lane: RankedLane) -> Badge:
    """Return a lane's status as a badge."""
    return Badge(lane.record.status, tone="good" if lane.record.status == "ok" else "bad")


def list_badges(lane: RankedLane, ranks: Mapping[str, int | None]) -> list[Badge]:
    """Return what marks a lane: replicates, engine arguments, contamination, the verdict on Perf, the front,
    and what it cannot be told from.

    `ranks` are those of all lanes.
    """
    badges = list_replicate_badges(lane)
    if lane.record.engine.arguments:
        badges.append(Badge(f"needs {lane.record.engine}", "엔진 인자", "", NEEDS_DETAIL))
    if lane.record.is_contaminated:
        counts = lane.record.contamination or {}
        where = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
        badges.append(Badge("⚠ contaminated", "오염", "bad", where))
    if lane.perf_margin_test:
        badges.append(make_verdict_badge(lane.perf_margin_test))
    if lane.on_front:
        badges.append(Badge("◆ front", "파레토", "good"))
    tied = sorted(rank for name in lane.tied_with if (rank := ranks.get(name)) is not None)
    if tied:
        badges.append(Badge(f"≈ {join_ranks(tied)}", "구별 안 됨"))
    return badges
