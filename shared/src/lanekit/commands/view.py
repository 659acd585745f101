"""A run in this process, followed: the same picture as the stack's, from what the driver tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.text import Text

from lanekit.commands.drawing import count_finished, draw_active, draw_failures, draw_lanes, format_span
from lanekit.commands.lines import PlainLines
from lanekit.commands.notes import NoteTeller, print_note
from lanekit.jobs.messages import JobReport, LaneInfo, RunInfo, RunPhase, RunSnapshot, shorten_notes
from lanekit.plan.graph import Plan, StageRun
from lanekit.plan.state import StageStatus
from lanekit.progress import ProgressEvent

FIXED_LINES = 3  # heading, a blank line, the prompt


class RunView:
    """Follows a plan's run; a context manager around it. It is the driver's Watcher."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.phase = find_phase(plan)
        self._begin = time.monotonic()
        self._runs = {key: _describe_run(plan, run) for key, run in plan.runs.items()}
        self._lanes = {lane: LaneInfo(name=lane, title=entry.title, keys=plan.list_lane_keys(lane))
                       for lane, entry in plan.lanes.items()}  # fmt: skip
        self._requiring = {key: plan.list_lanes_requiring(key) for key in plan.runs}
        self._lock = threading.RLock()
        self._lines = PlainLines(console)
        self._live = Live(self, console=console, refresh_per_second=4) if console.is_terminal else None
        self._notes = NoteTeller(partial(print_note, console))

    def __enter__(self) -> RunView:
        with _keep_going():
            if self._live:
                self._live.start()
        self._tell()
        return self

    def __exit__(self, *_: object) -> None:
        with _keep_going():
            if self._live:
                self._live.stop()

    def show_status(self, run: StageRun, status: StageStatus, reason: str = "") -> None:
        """See driver.Watcher."""
        now = time.time()
        with self._lock:
            changes: dict[str, object] = {"status": status, "reason": reason, "report": None}
            if status == "running":
                changes["report"] = JobReport(worker="", state="running", started_at=now)
                changes["attempt"] = self._runs[run.key].attempt + 1
            self._runs[run.key] = self._runs[run.key].model_copy(update=changes)
            if status == "failed":
                for lane in self._requiring[run.key]:
                    self._lanes[lane] = self._lanes[lane].model_copy(update={"reason": reason})
            self._tell()

    def show_notes(self, run: StageRun, notes: Sequence[str]) -> None:
        """See driver.Watcher."""
        shown = shorten_notes(notes)
        with self._lock:
            self._runs[run.key] = self._runs[run.key].model_copy(update={"notes": shown})
            self._tell()
        if self._live:
            with _keep_going():
                self._notes.show({run.name: shown})

    def show_progress(self, event: ProgressEvent) -> None:
        """See driver.Watcher."""
        with self._lock:
            run = self._runs[event.key]
            if run.report is None:
                return
            changes: dict[str, object] = {"step": event.step, "total": event.total, "message": event.message}
            if event.step and (event.total != run.report.total or not run.report.first_step_at):
                changes |= {"first_step": event.step, "first_step_at": time.time()}
            report = run.report.model_copy(update=changes)
            self._runs[event.key] = run.model_copy(update={"report": report})
            self._tell()

    def make_snapshot(self) -> RunSnapshot:
        """Return the run as it stands."""
        with self._lock:
            runs, lanes = tuple(self._runs.values()), tuple(self._lanes.values())
        return RunSnapshot(run_id="", phase=self.phase, updated_at=0.0, runs=runs, lanes=lanes)

    def _tell(self) -> None:
        if self._live is None:  # a live console draws by itself
            with _keep_going():
                self._lines.show(self.make_snapshot())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        with _keep_going():
            yield from self._draw(console, options)

    def _draw(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        snapshot = self.make_snapshot()
        lanes, failures = draw_lanes(snapshot), list(draw_failures(snapshot))
        left = max((options.height or console.height) - FIXED_LINES - lanes.row_count - len(failures), 2)
        spent = format_span(time.monotonic() - self._begin)
        heading = Text(f"{snapshot.phase}  {count_finished(snapshot)}, {spent}", style="bold")
        yield Group(heading, lanes, *failures, *draw_active(snapshot, options.max_width, left))


def _keep_going() -> AbstractContextManager[None]:
    """Drop what drawing raises: what can be shown does not decide whether the work goes on."""
    return suppress(Exception)


def find_phase(plan: Plan) -> RunPhase:
    """Return the phase of a run that a plan is; see results.course, which yields one for each."""
    stages = {run.type.name for run in plan.runs.values()}
    return "packaging" if "package" in stages else "ranking" if "rank" in stages else "lanes"


def _describe_run(plan: Plan, run: StageRun) -> RunInfo:
    return RunInfo(
        key=run.key, name=run.name, stage=run.type.name, service=run.type.service, status="waiting",
        lanes=tuple(plan.list_lanes_of(run.key)),
    )  # fmt: skip
