"""A run as plain lines, where there is no terminal: what changed between two snapshots."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console

from lanekit.commands.drawing import (
    MARKS,
    count_finished,
    estimate_left_s,
    format_span,
    is_queued,
    name_lanes,
)
from lanekit.commands.notes import NoteTeller
from lanekit.jobs.messages import RunInfo, RunSnapshot
from lanekit.plan.state import StageStatus

PLAIN_SECONDS = 15.0
MAX_LANES_NAMED = 3
TOLD: tuple[StageStatus, ...] = ("running", "done", "reused", "failed")


def describe_changes(before: RunSnapshot | None, after: RunSnapshot) -> Iterator[tuple[str, str]]:
    """Give a line and its style for each thing that changed between two snapshots."""
    old = {run.key: run for run in before.runs} if before else {}
    if before is None:
        yield f"{after.phase}: {count_finished(after)}", ""
    elif before.phase != after.phase:
        yield f"{after.phase}: {count_finished(after)} {after.reason}".rstrip(), "cyan"
    for run in after.runs:
        last = old.get(run.key)
        if last is not None and (last.status, last.attempt) == (run.status, run.attempt):
            if is_queued(run) and not is_queued(last):
                yield f"queued: {run.name} in {run.queue}, position {run.queue_position}", "dim"
            continue
        if last is None and run.status != "running":
            continue
        if run.status in TOLD:
            yield _describe_status(run, last), MARKS[run.status][1]
        elif run.status == "waiting" and run.attempt:
            yield f"waiting: {run.name} is tried again: {run.reason}", "yellow"
    known = {lane.name for lane in before.lanes if lane.reason} if before else set()
    for lane in after.lanes:
        if lane.reason and lane.name not in known:
            yield f"lane failed: {lane.name}: {lane.reason}", "red"


def _describe_status(run: RunInfo, last: RunInfo | None) -> str:
    place = ""
    if run.status == "running" and run.report:
        places = filter(None, (run.report.worker, run.report.device))
        place = " on " + ", ".join(places) if run.report.worker else ""
    took = ""
    if run.status in ("done", "failed") and last and last.report:
        took = f" after {format_span(time.time() - last.report.started_at)}"
    again = f" (attempt {run.attempt})" if run.attempt > 1 else ""
    whose = name_lanes(run.lanes, MAX_LANES_NAMED)
    return f"{run.status}: {run.name}{place}{took}{again} (for {whose}) {run.reason}".rstrip()


class PlainLines:
    """What changed since the last snapshot, as lines; progress of a running stage every 15 seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._begin = time.monotonic()
        self._snapshot: RunSnapshot | None = None
        self._told_at: dict[str, float] = {}
        self.notes = NoteTeller(lambda text: self.print(f"note: {text}", "yellow"))

    def show(self, snapshot: RunSnapshot | None) -> None:
        """Print what is new."""
        if snapshot is None or snapshot == self._snapshot:
            return
        for line, style in describe_changes(self._snapshot, snapshot):
            self.print(line, style)
        self._snapshot = snapshot
        self.notes.show(snapshot.collect_notes())
        for run in snapshot.runs:
            self._show_progress(run)

    def _show_progress(self, run: RunInfo) -> None:
        report, now = run.report, time.monotonic()
        if run.status != "running" or report is None or not report.step:
            return
        if now - self._told_at.get(run.key, 0) < PLAIN_SECONDS:
            return
        self._told_at[run.key] = now
        left_s = estimate_left_s(report, time.time())
        eta = f"ETA {format_span(left_s)}" if left_s is not None else ""
        self.print(f"  {run.name}: {report.message} {report.step}/{report.total or '?'} {eta}")

    def print(self, text: str, style: str = "") -> None:
        """Print a line with the time since the first."""
        line = f"[{format_span(time.monotonic() - self._begin)}] {text}".rstrip()
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
