"""The tables of one benchmark: values against the baseline's, then its parts and cut documents. Pure."""

from __future__ import annotations

from lanekit.results.ranking import BenchmarkStatistics, RankedLane, Ranking
from lanekit.results.schema import BenchmarkResult, PartResult
from ranker.report.formats import (
    EMPTY,
    KOREAN_METRICS,
    is_told,
    merge_names,
    round_number,
    show_difference,
    show_interval,
    show_p,
    show_percent,
    show_shares,
)
from ranker.report.table import LANE, Cell, Head, Table, make_row

N_PARTS = 4  # beyond these they are details
HEADS = (
    LANE,
    Head("value", "값", below="interval"),
    Head("recovery", "회복률", below="interval"),
    Head("Δ", "차이"),
    Head("better / worse", "나음 / 못함"),
    Head("p", "유의확률"),
    Head("Holm", "보정 후"),
    Head("items", "문항"),
)
CUT_HEADS = (Head("exact match", "완전 일치"), Head("cut", "잘린 문항"), Head("gold lost", "정답 유실"))


def tabulate_benchmark(ranking: Ranking, benchmark: str) -> Table:
    """Build a benchmark's table; without rows where no lane has a value."""
    found = _find_results(ranking, benchmark)
    metric = next((result.metric for _, result in found), "")
    share = show_shares(ranking).get(benchmark)
    terms = [metric] if metric else []
    terms.append(f"{share} of Perf" if share else "not in Perf")
    tests = [s.test for lane, _ in found if (s := lane.benchmark_statistics.get(benchmark)) and s.test]
    terms += [f"test: {test}" for test in tests[:1]]
    title, korean = f"{benchmark} ({', '.join(terms)})", KOREAN_METRICS.get(metric, "")
    if all(result.value is None for _, result in found):
        note = next((result.note for _, result in found if result.note), "No lane has a value.")
        return Table(title, korean, note)
    rows = [
        make_row(ranking, lane, *list_comparison(result, lane.benchmark_statistics.get(benchmark)))
        for lane, result in found
    ]
    return Table(title, korean, heads=HEADS, rows=tuple(rows))


def _find_results(ranking: Ranking, benchmark: str) -> list[tuple[RankedLane, BenchmarkResult]]:
    results = ((lane, lane.record.benchmarks.get(benchmark)) for lane in ranking.lanes)
    return [(lane, result) for lane, result in results if result]


def list_comparison(result: BenchmarkResult, found: BenchmarkStatistics | None) -> list[Cell]:
    """Return a lane's cells of one benchmark, for HEADS after the first."""
    found = found or BenchmarkStatistics()
    counts = f"{found.n_better} / {found.n_worse}" if found.p_value is not None else EMPTY
    return [
        Cell(round_number(result.value), show_interval(found.interval)),
        Cell(show_percent(found.recovery), show_interval(found.recovery_interval, 1, 100)),
        Cell(show_difference(found.difference)),
        Cell(counts),
        Cell(show_p(found.p_value)),
        Cell(show_p(found.p_adjusted), is_best=is_told(found)),
        Cell(str(result.n_items)),
    ]


def tabulate_details(ranking: Ranking, benchmark: str) -> Table | None:
    """Build the table of what cutting the documents cost, and of the parts; None where there is neither."""
    found = _find_results(ranking, benchmark)
    parts = merge_names(result.parts for _, result in found)
    is_exact = any(r.exact_match is not None for _, r in found)
    is_cut = any(r.n_cut or (r.exact_match is not None and r.metric != "accuracy") for _, r in found)
    if not parts and not is_cut:
        return None
    heads = [LANE, *(CUT_HEADS if is_exact else ())]
    heads += [Head(part, below="aside", is_detail=n >= N_PARTS) for n, part in enumerate(parts)]
    rows = []
    for lane, result in found:
        counts = (round_number(result.exact_match), str(result.n_cut), str(result.n_gold_lost))
        cells = [Cell(count) for count in counts if is_exact]
        cells += [_show_part(result.parts.get(part)) for part in parts]
        rows.append(make_row(ranking, lane, *cells))
    return Table("", heads=tuple(heads), rows=tuple(rows))


def _show_part(part: PartResult | None) -> Cell:
    if part is None:
        return Cell(EMPTY)
    exact = "" if part.exact_match is None else f"exact {round_number(part.exact_match)}, "
    return Cell(round_number(part.value), f"{exact}{part.n_items} items")
