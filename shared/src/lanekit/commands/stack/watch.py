"""Following a run of the composed stack: a live view, or plain lines of what changed. It only looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import redis
from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.console import Console
from rich.live import Live

from lanekit.commands.stack.drawing import (
    RunDrawing,
    Sight,
    count_finished,
    describe_trouble,
    estimate_left_s,
    format_span,
    is_queued,
    name_lanes,
)
from lanekit.commands.view import MARKS, MAX_LANES_NAMED, PLAIN_SECONDS
from lanekit.errors import LanekitError
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.messages import RunInfo, RunSnapshot
from lanekit.jobs.signs import has_store, read_controller_age_s, read_workers
from lanekit.plan.state import StageStatus
from lanekit.results.outcome import RunOutcome

LOOK_SECONDS = 1.0
OUTCOME_SECONDS = 5.0
END_PHASES = ("complete", "failed", "cancelled")
TOLD: tuple[StageStatus, ...] = ("running", "done", "failed")


def look_at_run(client: redis.Redis, run_id: str, before: Sight) -> Sight:
    """Return what Redis tells of a run now; what cannot be seen stays as it was before, and is named."""
    try:
        content = client.get(RedisKeys.snapshot(run_id))
        snapshot = RunSnapshot.model_validate_json(content) if content else before.snapshot
        return Sight(snapshot, read_workers(client), read_controller_age_s(client), has_store(client))
    except (RedisError, OSError):
        trouble = "Redis does not answer"
    except ValidationError:
        trouble = "the controller is of another version: docker compose up -d --build"
    since = before.seen_at if before.trouble == trouble else time.monotonic()
    return Sight(before.snapshot, before.workers, before.controller_age_s, True, trouble, since)


def watch_run(
    run_id: str,
    client: redis.Redis,
    read_outcome: Callable[[], RunOutcome | None],
    console: Console,
    asked_at: float,
    look_seconds: float = LOOK_SECONDS,
) -> RunOutcome:
    """Show a run until it ends and return its outcome.

    Redis, the store or the controller may go away meanwhile: the view says so and goes on.

    Args:
        client: fails at once where Redis is away; see stack_health.connect_briefly.
        read_outcome: gives None while the run goes on, and raises LanekitError where the store is away.
        asked_at: when the run was asked for, in seconds since the epoch.
    """
    drawing = RunDrawing(run_id, asked_at)
    lines = PlainLines(console)
    live = Live(drawing, console=console, refresh_per_second=4) if console.is_terminal else None
    asked_store_at = 0.0
    if live:
        live.start()
    try:
        while True:
            sight = look_at_run(client, run_id, drawing.sight)
            drawing.sight = sight
            if live is None:
                lines.show(sight)
            ended = sight.snapshot is not None and sight.snapshot.phase in END_PHASES
            if ended or time.monotonic() - asked_store_at > OUTCOME_SECONDS:
                asked_store_at = time.monotonic()
                with suppress(LanekitError):  # the store is away: the next look asks again
                    outcome = read_outcome()
                    if outcome is not None:
                        return outcome
            time.sleep(look_seconds)
    finally:
        if live:
            live.stop()


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
            yield _describe_status(run), MARKS[run.status][1]
        elif run.status == "waiting" and run.attempt:
            yield f"waiting: {run.name} is tried again: {run.reason}", "yellow"
    known = {lane.name for lane in before.lanes if lane.reason} if before else set()
    for lane in after.lanes:
        if lane.reason and lane.name not in known:
            yield f"lane failed: {lane.name}: {lane.reason}", "red"


def _describe_status(run: RunInfo) -> str:
    place = ""
    if run.status == "running" and run.report:
        place = f" on {run.report.worker}" + (f", {run.report.device}" if run.report.device else "")
    again = f" (attempt {run.attempt})" if run.attempt > 1 else ""
    whose = name_lanes(run.lanes, MAX_LANES_NAMED)
    return f"{run.status}: {run.name}{place}{again} (for {whose}) {run.reason}".rstrip()


class PlainLines:
    """What changed since the last sight, as lines; progress of a running stage every 15 seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._begin = time.monotonic()
        self._snapshot: RunSnapshot | None = None
        self._in_trouble = False
        self._told_at: dict[str, float] = {}

    def show(self, sight: Sight) -> None:
        """Print what is new."""
        trouble = describe_trouble(sight, time.monotonic())
        if bool(trouble) != self._in_trouble:
            self._in_trouble = bool(trouble)
            self._print(trouble or "the controller reports", "yellow")
        if sight.snapshot is None or sight.snapshot == self._snapshot:
            return
        for line, style in describe_changes(self._snapshot, sight.snapshot):
            self._print(line, style)
        self._snapshot = sight.snapshot
        for run in sight.snapshot.runs:
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
        self._print(f"  {run.name}: {report.message} {report.step}/{report.total or '?'} {eta}")

    def _print(self, text: str, style: str = "") -> None:
        line = f"[{format_span(time.monotonic() - self._begin)}] {text}".rstrip()
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
