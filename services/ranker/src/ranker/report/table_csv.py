"""The ranking as CSV: unrounded, for machines. Pure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from lanekit.results.ranking import BenchmarkStatistics, Interval, MarginTest, RankedLane, Ranking, Replicates
from lanekit.results.schema import LaneRecord
from ranker.report.formats import compute_spread, count_items, join_lines, list_forms

LEADING_COLUMNS = (
    "rank", "lane", "group", "status", "perf", "perf_norm", "s_per_token", "speed_norm", "score",
    "size_bytes", "reason",
)  # fmt: skip
TRAILING_COLUMNS = (
    "s_per_token_base", "speed_spread", "n_unparsed", "n_cut", "seconds", "device", "engine", "title",
)  # fmt: skip
SCREEN_COLUMNS = (
    "kl_mean", "kl_error", "kl_median", "kl_p99", "same_top", "same_top_error", "ppl", "ppl_ratio",
    "ppl_ratio_error", "n_tokens", "n_sequences",
)  # fmt: skip


def render_csv(ranking: Ranking, benchmarks: Sequence[str], others: Sequence[str] = ()) -> str:
    """Return summary.csv: one line a lane, numbers as Python's repr, empty where there is none.

    Columns are only ever added at the end: a benchmark's statistics as `<benchmark>_low` and so on, a form's
    times as `s_per_token_<form>`, the verdicts against the margin in fractions of 1, what bounds its speed
    and its engine arguments, then all of the benchmarks `others`, which the experiment gives no weight, and
    where a lane has replicates theirs (values in their order, "-" for one without a score), and where one has
    a screen its numbers.
    """
    forms = list_forms(ranking)
    rows = [_collect_cells(lane, benchmarks, forms, others) for lane in ranking.lanes]
    if any(lane.replicates for lane in ranking.lanes):
        rows = [row | _collect_draws(lane) for lane, row in zip(ranking.lanes, rows, strict=True)]
    if any(lane.record.screen for lane in ranking.lanes):
        rows = [row | _collect_screen(lane.record) for lane, row in zip(ranking.lanes, rows, strict=True)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([_write_cell(cell) for cell in row.values()])
    return stream.getvalue()


def _collect_cells(
    lane: RankedLane, benchmarks: Sequence[str], forms: Sequence[str], others: Sequence[str]
) -> dict[str, object]:
    """Return a lane's cells by column, in the same order for every lane."""
    record, speed = lane.record, lane.record.speed
    known: dict[str, object] = {
        "rank": lane.rank,
        "lane": record.lane,
        "group": record.group,
        "status": record.status,
        "perf": lane.perf,
        "perf_norm": lane.perf_norm,
        "s_per_token": speed.s_per_token if speed else None,
        "speed_norm": lane.speed_norm,
        "score": lane.score,
        "size_bytes": record.size_bytes,
        "reason": join_lines(record.reason),
        "s_per_token_base": speed.baseline_s_per_token if speed else None,
        "speed_spread": compute_spread(speed.s_per_token_all) if speed else None,
        "n_unparsed": count_items(record, "n_unparsed"),
        "n_cut": count_items(record, "n_cut"),
        "seconds": math.fsum(record.stage_seconds.values()) if record.stage_seconds else None,
        "device": speed.device if speed else None,
        "engine": speed.engine if speed else None,
        "title": join_lines(record.title),
    }
    cells = {name: known[name] for name in LEADING_COLUMNS}
    cells |= {name: _value(record, name) for name in benchmarks}
    cells |= {name: known[name] for name in TRAILING_COLUMNS}
    cells |= _name_ends("score", lane.score_interval) | _name_ends("perf_norm", lane.perf_norm_interval)
    cells["on_front"] = "yes" if lane.on_front else ""
    cells["tied_with"] = " ".join(lane.tied_with)
    counts = record.contamination
    cells["contamination"] = "unknown" if counts is None else " ".join(f"{n}:{c}" for n, c in counts.items())
    for name in benchmarks:
        cells |= _collect_statistics(name, lane.benchmark_statistics.get(name))
    cells |= _collect_speed(record, forms)
    cells["n_gold_lost"] = count_items(record, "n_gold_lost")
    cells |= {"perf_difference": test.difference if (test := lane.perf_margin_test) else None}
    cells |= _collect_margin("perf", test)
    for name in benchmarks:
        cells |= _collect_margin(name, _get_margin(lane, name))
    cells |= _collect_bound(record)
    for name in others:
        cells |= {name: _value(record, name)} | _collect_statistics(name, lane.benchmark_statistics.get(name))
        cells |= _collect_margin(name, _get_margin(lane, name))
    return cells


def _collect_statistics(name: str, found: BenchmarkStatistics | None) -> dict[str, object]:
    found = found or BenchmarkStatistics()
    return {
        **_name_ends(name, found.interval),
        f"{name}_recovery": found.recovery,
        **_name_ends(f"{name}_recovery", found.recovery_interval),
        f"{name}_difference": found.difference,
        f"{name}_p": found.p_value,
        f"{name}_p_adjusted": found.p_adjusted,
    }


def _get_margin(lane: RankedLane, benchmark: str) -> MarginTest | None:
    found = lane.benchmark_statistics.get(benchmark)
    return found.margin_test if found else None


def _collect_margin(name: str, test: MarginTest | None) -> dict[str, object]:
    return {
        **_name_ends(f"{name}_difference", test.interval if test else None),
        f"{name}_margin": test.margin if test else None,
        f"{name}_verdict": test.verdict if test else None,
        f"{name}_detectable": test.detectable if test else None,
        f"{name}_items_needed": test.n_items_needed if test else None,
    }


def _collect_draws(lane: RankedLane) -> dict[str, object]:
    found = lane.replicates or Replicates(lanes=[], perfs=[], scores=[])
    return {
        "replicates": " ".join(found.lanes),
        "perf_draws": _join_values(found.perfs),
        "perf_deviation": found.perf.deviation if found.perf else None,
        **_name_ends("perf", found.perf_interval),
        "score_draws": _join_values(found.scores),
        "score_deviation": found.score.deviation if found.score else None,
    }


def _collect_screen(record: LaneRecord) -> dict[str, object]:
    screen = record.screen
    cells: dict[str, object] = {name: getattr(screen, name) if screen else None for name in SCREEN_COLUMNS}
    return cells | {"screen_reason": join_lines(record.screen_reason)}


def _join_values(values: Sequence[float | None]) -> str:
    return " ".join("-" if value is None else repr(value) for value in values)


def _collect_speed(record: LaneRecord, forms: Sequence[str]) -> dict[str, object]:
    speed = record.speed
    cells: dict[str, object] = {"speed_form": speed.form if speed else None}
    for name in forms:
        form = speed.forms.get(name) if speed else None
        cells[f"s_per_token_{name}"] = form.s_per_token if form else None
        cells[f"s_per_token_base_{name}"] = form.baseline_s_per_token if form else None
        cells[f"ratio_{name}"] = form.ratio if form else None
        cells[f"ratio_{name}_low"] = form.ratio_low if form else None
        cells[f"ratio_{name}_high"] = form.ratio_high if form else None
        cells[f"tokens_per_item_{name}"] = form.tokens_per_item if form else None
        cells[f"tokens_per_item_base_{name}"] = form.baseline_tokens_per_item if form else None
    cost = speed.cost if speed else None
    cells["weight_bytes_per_step"] = cost.weight_bytes_per_step if cost else None
    cells["roofline_ratio"] = cost.roofline_ratio if cost else None
    return cells


def _collect_bound(record: LaneRecord) -> dict[str, object]:
    cost = record.speed.cost if record.speed else None
    prefill = cost.bounds.get("prefill") if cost else None
    bound = cost.bounds.get(cost.roofline_form) if cost else None
    return {
        "kv_bytes_per_context_token": cost.kv_bytes_per_context_token if cost else None,
        "roofline_form": cost.roofline_form if cost else None,
        "bound": bound.verdict if bound else None,
        "host_share": bound.host_share if bound else None,
        "compute_share": bound.compute_share if bound else None,
        "prefill_tokens_per_s": cost.prefill_tokens_per_s if cost else None,
        "prefill_of_peak": prefill.compute_share if prefill else None,
        "engine_arguments": str(record.engine),
    }


def _name_ends(name: str, interval: Interval | None) -> dict[str, object]:
    return {
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


def _value(record: LaneRecord, benchmark: str) -> float | None:
    result = record.benchmarks.get(benchmark)
    return result.value if result else None


def _write_cell(value: object) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
