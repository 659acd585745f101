"""What a run looks like in a terminal: a live table of lanes; plain lines where there is no terminal."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lanekit.plan.graph import Plan, StageRun
from lanekit.plan.state import StageStatus
from lanekit.progress import ProgressEvent
from lanekit.results.course import Outcome
from lanekit.results.schema import LaneRecord, RankedLane

MARKS: dict[StageStatus, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "done": ("✓", "green"),
    "reused": ("≡", "blue"),
    "failed": ("✗", "red"),
    "blocked": ("–", "red dim"),
}
PLAIN_SECONDS = 15.0
MAX_LANES_NAMED = 3
MARKS_TERM = "≈ not told apart from a neighbour; ◆ on the front of quality, speed and size; ⚠ contaminated"


def format_duration(seconds: float) -> str:
    """Return e.g. "1:05"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


class RunView:
    """Follows a run; a context manager around it."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.plan = plan
        self.console = console
        self.status: dict[str, StageStatus] = dict.fromkeys(plan.runs, "waiting")
        self.started: dict[str, float] = {}
        self.latest: dict[str, ProgressEvent] = {}
        self.first_step: dict[tuple[str, int], tuple[int, float]] = {}
        self._begin = time.monotonic()
        self._last_plain: dict[str, float] = {}
        self._lock = threading.Lock()
        self._live = Live(self, console=console, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> RunView:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            with suppress(OSError):  # the terminal has gone
                self._live.stop()

    def show_status(self, run: StageRun, status: StageStatus, reason: str = "") -> None:
        """See embedded.Watcher."""
        with self._lock:
            self.status[run.key] = status
            if status == "running":
                self.started[run.key] = time.monotonic()
            if self._live and status not in ("failed", "waiting"):
                return
            took = ""
            if status in ("done", "failed") and run.key in self.started:
                took = f" after {format_duration(time.monotonic() - self.started[run.key])}"
        lanes = self.plan.list_lanes_of(run.key)
        whose = ", ".join(lanes) if len(lanes) <= MAX_LANES_NAMED else f"{len(lanes)} lanes"
        self._print(f"{status}: {run.name}{took} (for {whose}) {reason}", MARKS[status][1])

    def show_progress(self, event: ProgressEvent) -> None:
        """See embedded.Watcher."""
        with self._lock:
            self.latest[event.key] = event
            now = time.monotonic()
            if event.step:
                self.first_step.setdefault((event.key, event.total), (event.step, now))
            if self._live or now - self._last_plain.get(event.key, 0) < PLAIN_SECONDS:
                return
            self._last_plain[event.key] = now
        name = self.plan.runs[event.key].name
        total = event.total or "?"
        self._print(f"  {name}: {event.message} {event.step}/{total} {self._estimate(event)}")

    def _print(self, text: str, style: str = "") -> None:
        # Never under the lock: a live console draws this view while it prints.
        line = f"[{self._elapsed()}] {text}".rstrip()
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    def _elapsed(self) -> str:
        return format_duration(time.monotonic() - self._begin)

    def _estimate(self, event: ProgressEvent) -> str:
        """Return the time left, judged by the steps since the first one: loading is no step."""
        first_step, first_time = self.first_step.get((event.key, event.total), (0, 0.0))
        done = event.step - first_step
        if not event.total or done <= 0:
            return ""
        seconds = (time.monotonic() - first_time) * (event.total - event.step) / done
        return f"ETA {format_duration(seconds)}"

    def __rich__(self) -> Group:
        with self._lock:
            return Group(self._draw_lanes(), self._draw_running())

    def _draw_lanes(self) -> Table:
        finished = sum(s not in ("waiting", "running") for s in self.status.values())
        table = Table(
            title=f"{finished}/{len(self.status)} stage runs, {self._elapsed()}",
            title_justify="left", box=None, pad_edge=False,
        )  # fmt: skip
        table.add_column("lane", no_wrap=True)
        table.add_column("stages", overflow="fold")
        for lane in self.plan.lanes.values():
            line = Text()
            for key in dict.fromkeys((*lane.stage_keys, *lane.target_keys)):
                run = self.plan.runs[key]
                mark, style = MARKS[self.status[key]]
                line.append(f"{mark} {run.type.label(run.params)}  ", style=style)
            table.add_row(lane.name, line)
        return table

    def _draw_running(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        for key, status in self.status.items():
            if status != "running":
                continue
            event = self.latest.get(key) or ProgressEvent(key, 0, 0, "")
            spent = format_duration(time.monotonic() - self.started.get(key, time.monotonic()))
            bar = ProgressBar(total=event.total or None, completed=event.step, width=24,
                              pulse=not event.total)  # fmt: skip
            count = f"{event.step}/{event.total}" if event.total else ""
            table.add_row(self.plan.runs[key].name, bar, count, self._estimate(event), spent, event.message)
        return table


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Print the final table, the notes and the packages."""
    ranking, packages, refused = outcome.ranking, list(outcome.packages), outcome.refused
    on_cpu = any(lane.record.speed and lane.record.speed.is_cpu for lane in ranking.lanes)
    title = f"{ranking.experiment}: {len(ranking.lanes) - 1} lanes and the baseline"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    seconds = "ms/\ntoken\n(cpu)" if on_cpu else "ms/\ntoken"
    for name in ("rank", "lane", "score", "interval", "Perf/\nbase", seconds, "gain", "MB", "marks"):
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
            name_marks(lane, position),
            style="red" if record.status != "ok" else "",
        )
    console.print(table)
    console.print(MARKS_TERM, style="dim", highlight=False)
    for lane in ranking.lanes:
        if lane.record.reason and lane.record.status != "unscored":  # that reason stands in the notes
            console.print(f"{lane.record.lane}: {lane.record.status}: {lane.record.reason}", markup=False)
    for name, reason in refused.items():
        console.print(f"{name}: not packaged: {reason}", style="red", markup=False)
    for note in ranking.notes:
        console.print(f"note: {note}", style="dim", markup=False)


def name_marks(lane: RankedLane, position: int | None) -> str:
    """Return e.g. "top1 ◆ ⚠": the package's place, the Pareto front, contamination."""
    marks = [f"top{position}"] if position else []
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
        norm = 1 - speed.s_per_token / speed.baseline_s_per_token
        table.add_row(f"seconds per token ({speed.device}, {speed.engine})", f"{speed.s_per_token:.6f}")
        table.add_row("speed norm, against the baseline in the same sitting", _number(norm))
    if record.size_bytes:
        table.add_row("weights", f"{record.size_bytes / 1e6:.2f} MB")
    console.print(table)


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
