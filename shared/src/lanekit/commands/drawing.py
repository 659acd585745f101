"""What a run looks like, here and in the composed stack: pure drawing of a snapshot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lanekit.jobs.messages import JobReport, RunInfo, RunSnapshot
from lanekit.plan.state import StageStatus
from lanekit.spec.replicates import shorten_name

MARKS: dict[StageStatus, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "done": ("✓", "green"),
    "reused": ("≡", "blue"),
    "failed": ("✗", "red"),
    "blocked": ("–", "red dim"),
}
QUEUED_MARK = ("◦", "yellow")
WIDE_COLUMNS = 130
MAX_FAILURES_SHOWN = 4
PREPARATION_STAGES = ("fetch_model", "prepare_corpus", "prepare_benchmarks")  # most lanes share them
RANKING_STAGES = ("rank", "package", "verify_package")
OPTIONAL_STAGES = ("compare_logits",)  # a lane is complete without them
FINISHED: tuple[StageStatus, ...] = ("done", "reused", "failed", "blocked")


def format_span(seconds: float) -> str:
    """Return e.g. "1:05", or "2:03:07" from an hour on."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def name_stage(run: RunInfo) -> str:
    """Return a run's label: its artifact's name without the key."""
    return run.name.rpartition("-")[0] or run.name


def is_queued(run: RunInfo) -> bool:
    """Whether a run waits in a queue, its inputs being there."""
    return run.status == "waiting" and run.queue_position is not None


def mark_run(run: RunInfo) -> tuple[str, str]:
    """Return a run's mark and its style."""
    return QUEUED_MARK if is_queued(run) else MARKS[run.status]


def name_lanes(lanes: Sequence[str], most: int = 1) -> str:
    """Return whose run it is: "lane05 +2" for three lanes."""
    short = [shorten_name(lane) for lane in lanes]
    more = f" +{len(short) - most}" if len(short) > most else ""
    return ", ".join(short[:most]) + more


def name_device(device: str) -> str:
    """Return a device's name without its maker and its trade marks: "L4", "Xeon Processor @ 2.70GHz"."""
    for noise in ("NVIDIA ", "cpu: ", "(R)", "(TM)", "Intel ", "AMD ", "GeForce "):
        device = device.replace(noise, "")
    return device.strip()


def shorten_worker(name: str) -> str:
    """Return a worker's name without its host: "trainer-a1b2c3" for "trainer-<host>-a1b2c3"."""
    service, _, rest = name.partition("-")
    return f"{service}-{rest.rpartition('-')[2]}" if rest else name


def estimate_left_s(report: JobReport, now: float) -> float | None:
    """Return the seconds left, judged by the steps since the first one: loading is no step."""
    done = report.step - report.first_step
    if not report.total or done <= 0 or not report.first_step_at:
        return None
    return max(now - report.first_step_at, 0) * max(report.total - report.step, 0) / done


def count_finished(snapshot: RunSnapshot) -> str:
    """Return e.g. "23/45 stage runs"."""
    finished = sum(run.status in FINISHED for run in snapshot.runs)
    return f"{finished}/{len(snapshot.runs)} stage runs"


def draw_lanes(snapshot: RunSnapshot) -> Table:
    """Return the lanes with their stages' marks; what they share stands before, the ranking after them."""
    runs = {run.key: run for run in snapshot.runs}
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")

    def add_row(name: str, stages: Sequence[RunInfo]) -> None:
        if stages:
            table.add_row(Text(name, style=_style_lane(stages)), _draw_marks(stages))

    add_row("preparation", [run for run in snapshot.runs if run.stage in PREPARATION_STAGES])
    for lane in snapshot.lanes:
        own = [runs[key] for key in dict.fromkeys(lane.keys) if key in runs]
        add_row(lane.name, [run for run in own if run.stage not in (*PREPARATION_STAGES, *RANKING_STAGES)])
    add_row("ranking", [run for run in snapshot.runs if run.stage in RANKING_STAGES])
    return table


def draw_failures(snapshot: RunSnapshot) -> Iterator[Text]:
    """Give one line for each failed lane, with its reason's first line."""
    failed = [lane for lane in snapshot.lanes if lane.reason]
    for lane in failed[:MAX_FAILURES_SHOWN]:
        yield Text(f"✗ {lane.name}: {lane.reason.splitlines()[0]}", style="red")
    if len(failed) > MAX_FAILURES_SHOWN:
        yield Text(f"✗ and {len(failed) - MAX_FAILURES_SHOWN} more lanes (status.py shows all)", style="red")


def draw_active(snapshot: RunSnapshot, width: int, max_rows: int) -> list[RenderableType]:
    """Return the running stages, one a row, then what waits for another try, then one line a queue."""
    running = [run for run in snapshot.runs if run.status == "running"]
    running.sort(key=lambda run: run.report.started_at if run.report else 0.0)
    waiting = [*draw_retries(snapshot), *draw_queues(snapshot)]
    room = max(max_rows - len(waiting), 2)
    parts: list[RenderableType] = []
    if running:
        parts.append(_draw_running(running[:room], width))
    if len(running) > room:
        parts.append(Text(f"  and {len(running) - room} more running", style="dim"))
    return parts + list(waiting[: max(max_rows - min(len(running), room), 0)])


def draw_retries(snapshot: RunSnapshot) -> Iterator[Text]:
    """Give a line for each run that waits for a reason: its last attempt failed, or its worker is silent."""
    for run in snapshot.runs:
        if run.status == "waiting" and run.reason and not is_queued(run):
            title = f"↻ {name_stage(run)} ({name_lanes(run.lanes)})  {run.reason.splitlines()[0]}"
            yield Text(title, style="yellow")


def draw_queues(snapshot: RunSnapshot) -> Iterator[Text]:
    """Give a line for each queue: its runs in order, each with its position."""
    queued = sorted(filter(is_queued, snapshot.runs), key=lambda run: run.queue_position or 0)
    for queue in sorted({run.queue for run in queued}):
        line = Text(f"{QUEUED_MARK[0]} queue {queue}  ", style=QUEUED_MARK[1])
        for run in (run for run in queued if run.queue == queue):
            again = f", try {run.attempt}" if run.attempt > 1 else ""
            line.append(f"{run.queue_position} ", style="dim")
            line.append(f"{name_stage(run)} ({name_lanes(run.lanes)}{again})  ", style="default")
        yield line


def _draw_running(running: Sequence[RunInfo], width: int) -> Table:
    is_wide = width >= WIDE_COLUMNS
    table = Table(box=None, pad_edge=False, show_header=False, expand=True, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, max_width=30)  # stage and lanes
    table.add_column(width=24 if is_wide else 12)  # bar
    table.add_column(no_wrap=True, justify="right")  # count
    table.add_column(no_wrap=True)  # time left, or spent
    is_here = not any(run.report and run.report.worker for run in running)  # no worker to name: a message
    for ratio in (1,) if is_here else (3, 3, 4) if is_wide else (1, 1):  # worker, device, message
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=ratio)
    now = time.time()
    for run in running:
        report = run.report
        title = Text(f"{MARKS['running'][0]} {name_stage(run)} ", style="cyan")
        title.append(name_lanes(run.lanes), style="default")
        if run.attempt > 1:
            title.append(f" try {run.attempt}", style="yellow")
        if report is None:
            table.add_row(title, "", "", "taken")
            continue
        bar = ProgressBar(total=report.total or None, completed=report.step, pulse=not report.total)
        left_s = estimate_left_s(report, now)
        spent = format_span(now - report.started_at)
        timing = f"{spent}, ETA {format_span(left_s)}" if left_s is not None else spent
        count = f"{report.step}/{report.total}" if report.total else ""
        state = report.state if report.state != "running" else report.message
        place: list[RenderableType] = [
            Text(shorten_worker(report.worker), style="dim"),
            name_device(report.device),
        ]
        if is_here:
            place = [Text(state, style="dim")]
        elif is_wide:
            place.append(Text(state, style="dim"))
        elif report.state != "running":
            place[1] = Text(report.state.replace("waiting for the", "awaits a"), style="yellow")
        table.add_row(title, bar, count, timing, *place)
    return table


def _draw_marks(runs: Sequence[RunInfo]) -> Text:
    line = Text()
    for run in runs:
        mark, style = mark_run(run)
        line.append(f"{mark} {name_stage(run)}  ", style=style)
    return line


def _style_lane(stages: Sequence[RunInfo]) -> str:
    status = {run.status for run in stages}
    if any(run.status in ("failed", "blocked") and run.stage not in OPTIONAL_STAGES for run in stages):
        return "red"
    return "green" if status and status <= {"done", "reused"} else ""
