"""What a run came to, in a terminal: the ranked table, one lane's record."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lanekit.results.course import Outcome
from lanekit.results.ranking import RankedLane
from lanekit.results.schema import LaneRecord

MARKS_TERM = "≈ not told apart from a neighbour; ◆ on the front of quality, speed and size; ⚠ contaminated"
REPLICATES_TERM = "; ×3 the mean of three replicates, the package is the first's"


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Print the final table, the notes and the packages."""
    ranking, packages, refused = outcome.ranking, list(outcome.packages), outcome.refused
    on_cpu = any(lane.record.speed and lane.record.speed.is_cpu for lane in ranking.lanes)
    title = f"{ranking.experiment}: {len(ranking.lanes) - 1} lanes and the baseline"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    seconds = "ms/\ntoken\n(cpu)" if on_cpu else "ms/\ntoken"
    kl = ["KL"] if any(lane.record.screen for lane in ranking.lanes) else []
    for name in ("rank", "lane", "score", "interval", "Perf/\nbase", seconds, "gain", "MB", *kl, "marks"):
        left = name in ("rank", "lane", "marks")
        table.add_column(
            name, justify="left" if left else "right", no_wrap=name in ("rank", "lane", "interval")
        )
    for lane in ranking.lanes:
        record = lane.record
        position = packages.index(record.lane) + 1 if record.lane in packages else None
        interval = lane.score_interval
        table.add_row(
            f"{lane.rank or '-'}{' ≈' if lane.tied_with else ''}",
            record.lane,
            _number(lane.score),
            f"{interval.low:.3f}–{interval.high:.3f}" if interval else "",
            _number(lane.perf_norm, 3),
            _number(record.speed.s_per_token * 1000 if record.speed else None, 3),
            "-" if lane.speed_norm is None else f"{lane.speed_norm:+.1%}",
            _number(record.size_bytes / 1e6, 2 if record.size_bytes < 100e6 else 0)
            if record.size_bytes
            else "-",
            *(show_kl(record.screen.kl_mean if record.screen else None) for _ in kl),
            name_marks(lane, position),
            style="red" if record.status != "ok" else "",
        )
    console.print(table)
    is_repeated = any(lane.replicates for lane in ranking.lanes)
    console.print(MARKS_TERM + REPLICATES_TERM * is_repeated, style="dim", highlight=False)
    for lane in ranking.evaluated:
        if lane.record.reason and lane.record.status != "unscored":  # that reason stands in the notes
            console.print(f"{lane.record.lane}: {lane.record.status}: {lane.record.reason}", markup=False)
    for record in (lane.record for lane in ranking.evaluated):
        if record.screen_reason and record.status == "ok":
            console.print(f"{record.lane}: ranked without its screen: {record.screen_reason}", style="yellow",
                          markup=False)  # fmt: skip
    for name, reason in refused.items():
        console.print(f"{name}: not packaged: {reason}", style="red", markup=False)
    for name, reason in outcome.passed_over.items():
        console.print(f"{name}: no package: {reason}", style="yellow", markup=False)
    for note in (*ranking.notes, *ranking.rules):
        console.print(f"note: {note}", style="dim", markup=False)


def name_marks(lane: RankedLane, position: int | None) -> str:
    """Return e.g. "top1 ×3 ◆ ⚠": the package's place, replicates, the Pareto front, contamination."""
    marks = [f"top{position}"] if position else []
    marks += [f"×{len(lane.replicates.lanes)}"] if lane.replicates else []
    marks += ["◆"] if lane.on_front else []
    marks += ["⚠"] if lane.record.is_contaminated else []
    return " ".join(marks)


def show_record(console: Console, record: LaneRecord) -> None:
    """Print one lane's measurements."""
    table = Table(title=record.lane, show_header=False)
    for name, result in record.benchmarks.items():
        unparsed = f", {result.n_unparsed} unparsed" if result.n_unparsed else ""
        value = _number(result.value) if result.value is not None else f"left out: {result.note}"
        table.add_row(f"{name} ({result.metric})", f"{value} ({result.n_items} items{unparsed})")
    if record.speed:
        speed = record.speed
        norm = 1 - speed.ratio if speed.ratio is not None else None
        table.add_row(f"seconds per token ({speed.device}, {speed.engine})", f"{speed.s_per_token:.6f}")
        table.add_row("speed norm, against the baseline in the same sitting", _number(norm))
    if record.size_bytes:
        table.add_row("weights", f"{record.size_bytes / 1e6:.2f} MB")
    if record.screen:
        screen = record.screen
        shown = (
            f"KL {show_kl(screen.kl_mean)}, same top-1 {screen.same_top:.1%}, PPL/base {screen.ppl_ratio:.4f}"
        )
        table.add_row(f"screen ({screen.n_tokens} held-out tokens)", shown)
    console.print(table)


def show_kl(value: float | None) -> str:
    """Return nats with three decimals; with two digits below 0.001, where schemes of 8 bits lie."""
    return f"{value:.1e}" if value is not None and 0 < value < 0.001 else _number(value, 3)


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
