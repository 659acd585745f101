"""The page's section on quality: recovery by benchmark as a chart, then each benchmark's numbers."""

from __future__ import annotations

from collections.abc import Sequence

from lanekit.results.schema import RankedLane, Ranking
from ranker.report.formats import (
    EMPTY,
    has_details,
    list_parts,
    round_number,
    show_difference,
    show_p,
    show_percent,
)
from ranker.report.html_parts import (
    KOREAN_METRICS,
    head,
    korean,
    lane_cell,
    name,
    number,
    row,
    section,
    span,
    table,
    text,
)
from ranker.report.plots_quality import render_recovery

SMALL_P = 0.05
HEADS = ("value", "recovery", "Δ", "better / worse", "p", "Holm", "items")


def draw_quality(ranking: Ranking, benchmarks: Sequence[str]) -> str:
    """Return the section; nothing where no lane has a value."""
    shown = [n for n in benchmarks if any(_has_value(lane, n) for lane in ranking.lanes)]
    if not shown:
        return ""
    chart = render_recovery(ranking, shown)
    picture = f'<div class="scroll"><div class="wide">{chart}</div></div>' if chart else ""
    if picture:
        picture += (
            '<p class="sub" id="recovery-caption">Each lane\'s value over the baseline\'s on the same items, '
            "with its interval; filled: told from the baseline after Holm's adjustment (p &lt; 0.05).</p>"
        )
    content = picture + "".join(_draw_benchmark(ranking, benchmark) for benchmark in shown)
    return section(content, "Quality by benchmark", "벤치마크별 품질")


def _draw_benchmark(ranking: Ranking, benchmark: str) -> str:
    lanes = [lane for lane in ranking.lanes if benchmark in lane.record.benchmarks]
    metric = next(lane.record.benchmarks[benchmark].metric for lane in lanes)
    total = sum(ranking.weights_used.values()) or 1.0
    weight = ranking.weights_used.get(benchmark)
    share = f"{100 * weight / total:.3g} % of Perf" if weight else "not in Perf"
    rows = [_draw_row(lane, benchmark, lane is ranking.lanes[0]) for lane in lanes]
    heads = [head("lane"), *(head(word) for word in HEADS)]
    test = next((s.test for lane in lanes if (s := lane.benchmark_statistics.get(benchmark)) and s.test), "")
    note = f"; test: {test}" if test else ""
    return (
        f"<details{_is_open(ranking, benchmark)}><summary><b>{name(benchmark)}</b> "
        f"{text(metric)} {korean(KOREAN_METRICS.get(metric, ''))}, {share}{text(note)}</summary>"
        f"{table(heads, rows)}{_draw_details(ranking, benchmark)}</details>"
    )


def _is_open(ranking: Ranking, benchmark: str) -> str:
    return " open" if len(ranking.lanes) > 1 and benchmark in ranking.weights_used else ""


def _draw_row(lane: RankedLane, benchmark: str, is_base: bool) -> str:
    result, found = lane.record.benchmarks[benchmark], lane.benchmark_statistics.get(benchmark)
    if found is None:
        cells = [number(round_number(result.value)), *(number(EMPTY) for _ in HEADS[2:])]
        return row([lane_cell(lane), *cells, number(str(result.n_items))], is_base=is_base)
    paired = found.p_value is not None
    is_small = paired and found.p_adjusted is not None and found.p_adjusted < SMALL_P
    cells = [
        lane_cell(lane),
        number(round_number(result.value), span(found.interval)),
        number(show_percent(found.recovery), span(found.recovery_interval, 1, 100)),
        number(show_difference(found.difference)),
        number(f"{found.n_better} / {found.n_worse}" if paired else EMPTY),
        number(show_p(found.p_value)),
        number(show_p(found.p_adjusted), best=is_small),
        number(str(result.n_items)),
    ]
    return row(cells, is_base=is_base)


def _draw_details(ranking: Ranking, benchmark: str) -> str:
    """Return what cutting the documents cost, and the parts reported apart, where a benchmark has them."""
    lanes = [lane for lane in ranking.lanes if benchmark in lane.record.benchmarks]
    parts = list_parts(ranking, benchmark)
    results = [lane.record.benchmarks[benchmark] for lane in lanes]
    if not has_details(results, parts):
        return ""
    is_exact = any(r.exact_match is not None for r in results)
    heads = [head("lane"), *(head(word) for word in ("exact match", "cut", "gold lost") if is_exact)]
    heads += [head(part, "") for part in parts]
    rows = []
    for lane, result in zip(lanes, results, strict=True):
        cells = [lane_cell(lane)]
        if is_exact:
            counts = (str(result.n_cut), str(result.n_gold_lost))
            cells += [number(round_number(result.exact_match)), *map(number, counts)]
        for part in parts:
            found = result.parts.get(part)
            exact = f"exact {round_number(found.exact_match)}, " if found and is_exact else ""
            below = f"{exact}{found.n_items} items" if found else ""
            cells.append(number(round_number(found.value if found else None), below))
        rows.append(row(cells, is_base=lane is ranking.lanes[0]))
    return table(heads, rows)


def _has_value(lane: RankedLane, benchmark: str) -> bool:
    result = lane.record.benchmarks.get(benchmark)
    return result is not None and result.value is not None
