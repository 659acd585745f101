"""A run of the composed stack as a person sees it: the picture, who works on it, and what is in the way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from lanekit.commands.drawing import count_finished, draw_active, draw_failures, draw_lanes, format_span
from lanekit.commands.stack.health import SILENT_SECONDS
from lanekit.jobs.messages import RunSnapshot
from lanekit.jobs.signs import LiveWorker
from lanekit.spec.stages import WORKERS

FIXED_LINES = 6  # heading, blank lines, workers, trouble


@dataclass(frozen=True)
class Sight:
    """What one look at Redis gave.

    Attributes:
        has_store: whether the controller says that it reaches MinIO.
        trouble: what could not be seen, and why; `seen_at` is then when that began.
    """

    snapshot: RunSnapshot | None = None
    workers: Sequence[LiveWorker] = ()
    controller_age_s: float | None = None
    has_store: bool = True
    trouble: str = ""
    seen_at: float = field(default_factory=time.monotonic)


def describe_trouble(sight: Sight, now: float) -> str:
    """Return why the view may be old, or an empty string; `now` is time.monotonic's."""
    if sight.trouble:
        return f"{sight.trouble}, for {int(now - sight.seen_at)} s; the view goes on when it is back"
    if sight.controller_age_s is None:
        return "no controller reports: docker compose up -d controller; the view goes on when it is back"
    age_s = sight.controller_age_s + now - sight.seen_at
    if age_s > SILENT_SECONDS:
        return f"controller silent for {int(age_s)} s"
    if not sight.has_store:
        return (
            "the controller does not reach MinIO: docker compose logs minio; the view goes on when it is back"
        )
    if sight.snapshot is None:
        return "the controller has not reported on this run yet"
    return ""


def describe_workers(workers: Sequence[LiveWorker]) -> Text:
    """Return one line: each service with its workers, busy or idle."""
    line = Text("workers  ", style="dim")
    if not workers:
        return line.append("none reports", style="yellow")
    for service in WORKERS:
        own = [worker.report for worker in workers if worker.report.service == service]
        if not own:
            line.append(f"{service} none   ", style="yellow")
            continue
        busy = sum(bool(report.job_id) for report in own)
        state = f"{busy} of {len(own)} busy" if len(own) > 1 else ("busy" if busy else "idle")
        line.append(f"{service} ", style="default")
        line.append(f"{state}   ", style="cyan" if busy else "dim")
    return line


class RunDrawing:
    """Draws a sight of one run, in as many lines as the terminal has."""

    def __init__(self, run_id: str, asked_at: float) -> None:
        self.run_id = run_id
        self.asked_at = asked_at
        self.sight = Sight(trouble="looking for Redis")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield self.draw(options.max_width, options.height or console.height)

    def draw(self, width: int, height: int) -> Group:
        """Return the whole view."""
        snapshot, now = self.sight.snapshot, time.monotonic()
        parts: list[RenderableType] = [self._draw_heading(snapshot)]
        if snapshot is not None:
            lanes = draw_lanes(snapshot)
            failures = list(draw_failures(snapshot))
            left = max(height - FIXED_LINES - lanes.row_count - len(failures), 2)
            parts += [lanes, *failures, Text(), *draw_active(snapshot, width, left)]
        parts.append(describe_workers(self.sight.workers))
        trouble = describe_trouble(self.sight, now)
        if trouble:
            parts.append(Text(f"! {trouble}", style="yellow"))
        parts = [_keep_in_line(part) if isinstance(part, Text) else part for part in parts]
        return Group(*parts)

    def _draw_heading(self, snapshot: RunSnapshot | None) -> Text:
        line = Text(self.run_id, style="bold")
        if snapshot is not None:
            line.append(f"  {snapshot.phase}", style="cyan")
            line.append(f"  {count_finished(snapshot)}", style="default not bold")
        return line.append(
            f"  asked for {format_span(time.time() - self.asked_at)} ago", style="dim not bold"
        )


def _keep_in_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
