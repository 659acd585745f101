"""The tables on what bounds each form of timing: host, memory bandwidth or compute. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.speed import FormBound, ModelCost
from ranker.report.formats import EMPTY, merge_names, show_percent
from ranker.report.table import LANE, Cell, Head, Row, Table, make_row

BOUND_NOTE = (
    "What takes at least half of a decode step, or of the prefill; “none alone” where nothing does. Memory: "
    "the weights and the KV cache at the bandwidth; compute: the operations at the tensor cores' dense peak; "
    "host: what a step takes whatever the number of sequences, less the weights' reading. Decode steps are "
    "without their prompts' prefill where that is timed."
)
UNTOLD = "none alone"
PREFILL_HEADS = (
    Head("prefill, tokens/s", "프리필 처리량"),
    Head("of the peak", "최대 연산 대비", below="aside"),
)
LANE_HEADS = (Head("form", "방식", "text"), Head("lane", "레인", "text"), Head("baseline", "기준", "text"))


def tabulate_bounds(ranking: Ranking) -> Table | None:
    """Build the table of what bounds every lane's forms; None where nothing is known of any."""
    costs = [(lane, cost) for lane in ranking.lanes if lane.record.speed and (cost := lane.record.speed.cost)]
    forms = merge_names(list_known(cost) for _, cost in costs)
    if not forms:
        return None
    rows = [
        make_row(ranking, lane, *(_show_bound(cost.bounds.get(form)) for form in forms), *_show_prefill(cost))
        for lane, cost in costs
    ]
    heads = (LANE, *(Head(form, kind="text", below="aside") for form in forms), *PREFILL_HEADS)
    return Table("What bounds a step", "단계의 병목", BOUND_NOTE, heads, tuple(rows))


def tabulate_lane_bounds(lane: RankedLane) -> Table | None:
    """Build the table of what bounds one lane's forms, beside the baseline; None where nothing is known."""
    speed = lane.record.speed
    mine = speed.cost.bounds if speed and speed.cost else {}
    base = speed.baseline_cost.bounds if speed and speed.baseline_cost else {}
    known = [name for name, bound in mine.items() if bound.memory_share is not None]
    if not known:
        return None
    rows = [Row((Cell(name), _show_bound(mine[name]), _show_bound(base.get(name)))) for name in known]
    return Table("What bounds a step", "단계의 병목", heads=LANE_HEADS, rows=tuple(rows))


def list_known(cost: ModelCost) -> list[str]:
    """Return the forms whose memory's share is known, so that something can be said of them."""
    return [name for name, bound in cost.bounds.items() if bound.memory_share is not None]


def name_verdict(bounds: Mapping[str, FormBound], form: str) -> str:
    """Return what bounds a form; "none alone", or a dash where nothing is known."""
    bound = bounds.get(form)
    if bound is None or bound.memory_share is None:
        return EMPTY
    return bound.verdict or UNTOLD


def _show_bound(bound: FormBound | None) -> Cell:
    if bound is None or bound.memory_share is None:
        return Cell(EMPTY)
    shares = {"host": bound.host_share, "memory": bound.memory_share, "compute": bound.compute_share}
    shown = [f"{name} {show_percent(share, 0)}" for name, share in shares.items() if share is not None]
    return Cell(bound.verdict or UNTOLD, ", ".join([*shown, f"{bound.seconds * 1000:.2f} ms"]))


def _show_prefill(cost: ModelCost) -> tuple[Cell, Cell]:
    rate = f"{cost.prefill_tokens_per_s:,.0f}" if cost.prefill_tokens_per_s else EMPTY
    bound = cost.bounds.get("prefill")
    share = bound.compute_share if bound else None
    if share is None or cost.peak_operations_per_s is None:
        return Cell(rate), Cell(EMPTY)
    peak = f"{cost.compute_dtype}, {cost.peak_operations_per_s / 1e12:,.0f} T/s"
    return Cell(rate), Cell(show_percent(share, 0), peak)
