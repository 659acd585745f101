"""One lane's tables: its benchmarks, its forms of timing and its kernels, each beside the baseline. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lanekit.results.ranking import BenchmarkStatistics, RankedLane, Ranking
from ranker.report.formats import EMPTY, round_number, show_time
from ranker.report.table import Cell, Head, Row, Table
from ranker.report.tables_quality import HEADS, list_comparison
from ranker.report.tables_speed import KOREAN_KINDS, list_form_remarks

BENCHMARK = Head("benchmark", "벤치마크", "text")
FORM_HEADS = (
    Head("form", "방식", "text"),
    Head("lane, ms/token", "레인"),
    Head("baseline, ms/token", "기준"),
    Head("gain and remarks", "속도 향상", "text"),
)
KERNEL_HEADS = (Head("layer: kernel", "계층과 커널", "text"), Head("lane", "레인"), Head("baseline", "기준"))


def tabulate_lane_quality(ranking: Ranking, lane: RankedLane, benchmarks: Sequence[str]) -> Table | None:
    """Build the table of a lane's benchmarks; None where it has none."""
    base = ranking.lanes[0].record.benchmarks
    rows = []
    for name in benchmarks:
        result = lane.record.benchmarks.get(name)
        if result is None:
            continue
        found = lane.benchmark_statistics.get(name) or BenchmarkStatistics()
        reference = Cell(round_number(base[name].value if name in base else None))
        value, *others = list_comparison(result, found)
        rows.append(Row((Cell(name, result.note), value, reference, *others)))
    if not rows:
        return None
    heads = (BENCHMARK, HEADS[1], Head("baseline", "기준"), *HEADS[2:])
    return Table("Quality", "품질", heads=heads, rows=tuple(rows))


def tabulate_lane_forms(lane: RankedLane) -> Table | None:
    """Build the table of a lane's forms of timing, candidate and baseline; None where it has none."""
    speed = lane.record.speed
    if speed is None or not speed.forms:
        return None
    rows = []
    for name, form in speed.forms.items():
        korean = KOREAN_KINDS[form.kind]
        shown = f"{name} · score" if name == speed.form else name
        mine = show_time(form.s_per_token, form.s_per_token_all, 3)
        base = show_time(form.baseline_s_per_token, form.baseline_s_per_token_all, 3)
        remarks = "; ".join(list_form_remarks(form, lane.pooled_ratios.get(name)))
        rows.append(
            Row((Cell(shown, korean), Cell(mine, is_best=name == speed.form), Cell(base), Cell(remarks)))
        )
    return Table("Speed by form", "방식별 속도", heads=FORM_HEADS, rows=tuple(rows))


def tabulate_kernels(lane: RankedLane) -> Table | None:
    """Build the table of the layers by type and kernel, the lane's and the baseline's; None for none."""
    speed = lane.record.speed
    mine = speed.cost.kernels if speed and speed.cost else {}
    base = speed.baseline_cost.kernels if speed and speed.baseline_cost else {}
    rows = [
        Row((Cell(name), *(Cell(str(counts[name]) if name in counts else EMPTY) for counts in (mine, base))))
        for name in sorted({*mine, *base})
    ]
    return Table("Kernels", "커널", heads=KERNEL_HEADS, rows=tuple(rows)) if rows else None
