"""What goes on in the composed stack: processes, queues and runs, as data and as tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lanekit.commands.drawing import count_finished, is_queued, name_device, name_stage
from lanekit.commands.notes import merge_notes
from lanekit.commands.stack.cli import Stack
from lanekit.commands.stack.health import check_stack
from lanekit.errors import LanekitError
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.messages import FailureReport, RunSnapshot
from lanekit.jobs.signs import LiveWorker, read_controller_age_s, read_workers
from lanekit.plan.preflight.finding import Finding
from lanekit.results.outcome import RunOutcome
from lanekit.results.ranking import Ranking
from lanekit.spec.replicates import FIRST, split_replicate
from lanekit.spec.stages import WORKERS
from lanekit.store.documents import RunPaths

UNSEEN = "not seen by the controller yet"
LOG_TAIL_LINES = 12
MAX_NOTES_OF_ONE = 20  # where one run is shown
MAX_NOTES_OF_MANY = 3


@dataclass
class RunSummary:
    """One run: its phase, its stage runs by status, and each lane's state with its reason and log tail.

    `notes` tell of the artifacts that are not all that was asked for, by their names.
    """

    run_id: str
    phase: str
    reason: str = ""
    finished: str = ""
    lanes: dict[str, str] = field(default_factory=dict)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_complete: bool = False
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass
class StackStatus:
    """Everything that status.py shows."""

    problems: list[Finding]
    controller_age_s: float | None = None
    workers: list[LiveWorker] = field(default_factory=list)
    queues: dict[str, int] = field(default_factory=dict)
    runs: list[RunSummary] = field(default_factory=list)

    def has_problem(self, part: str) -> bool:
        """Whether a part, or the whole stack, is away."""
        return any(problem.where in (part, "stack") for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        data = asdict(self)
        data["workers"] = [
            {**worker.report.model_dump(mode="json"), "age_s": worker.age_s} for worker in self.workers
        ]
        return data


def look_at_stack(stack: Stack, wanted_runs: list[str] | None = None) -> StackStatus:
    """Return the stack's status; what is away is named among the problems and left out.

    Args:
        wanted_runs: ids of the runs to look at; None for all.
    """
    status = StackStatus(check_stack(stack.settings, WORKERS))
    if not status.has_problem("redis"):
        try:
            status.controller_age_s = read_controller_age_s(stack.redis)
            status.workers = read_workers(stack.redis)
            names = {queue for worker in status.workers for queue in worker.report.queues} | set(WORKERS)
            status.queues = {name: int(stack.redis.llen(f"rq:queue:{name}")) for name in sorted(names)}  # type: ignore[arg-type]
        except RedisError as error:
            status.problems.append(Finding("redis", str(error), "docker compose logs redis"))
    if not status.has_problem("minio"):
        run_ids = stack.documents.list_runs() if wanted_runs is None else wanted_runs
        status.runs = [describe_run_status(stack, run_id) for run_id in run_ids]
    return status


def read_snapshot(stack: Stack, run_id: str) -> RunSnapshot | None:
    """Return what the controller last said of a run, None where nothing can be had."""
    try:
        content = stack.redis.get(RedisKeys.snapshot(run_id))
        return RunSnapshot.model_validate_json(content) if content else None  # type: ignore[arg-type]
    except (RedisError, ValidationError):
        return None


def read_phase(stack: Stack, run_id: str) -> str:
    """Return a run's phase in a word or two."""
    outcome = stack.read_outcome(run_id)
    if outcome is not None:
        return outcome.phase
    if stack.documents.read(run_id, RunPaths.CANCELLED) is not None:
        return "being cancelled"
    snapshot = read_snapshot(stack, run_id)
    return f"{snapshot.phase}, {count_finished(snapshot)}" if snapshot else UNSEEN


def describe_run_status(stack: Stack, run_id: str) -> RunSummary:
    """Return a run's status from its outcome, else from the controller's snapshot."""
    outcome, snapshot = stack.read_outcome(run_id), read_snapshot(stack, run_id)
    if outcome is not None:
        return _describe_ended(stack, outcome)
    status = RunSummary(run_id, read_phase(stack, run_id))
    if snapshot is None:
        return status
    status.reason, status.finished = snapshot.reason, count_finished(snapshot)
    status.notes = snapshot.collect_notes()
    failures = stack.read_failures(run_id)
    runs = {run.key: run for run in snapshot.runs}
    for lane in snapshot.lanes:
        own = [runs[key] for key in lane.keys if key in runs]
        broken = next((run.key for run in own if run.status == "failed"), "")
        if lane.reason or broken:
            failure = failures.get(broken, FailureReport(message=lane.reason or "failed"))
            status.failed[lane.name] = {
                "reason": lane.reason or failure.message,
                "remedy": failure.remedy,
                "log_tail": list(failure.log_tail),
            }
            status.lanes[lane.name] = "failed"
            continue
        active = [f"{name_stage(run)} runs" for run in own if run.status == "running"]
        active += [f"{name_stage(run)} {run.queue_position} in queue" for run in own if is_queued(run)]
        is_done = own and all(run.status in ("done", "reused") for run in own)
        status.lanes[lane.name] = "done" if is_done else (", ".join(active) or "waiting")
    return status


def _describe_ended(stack: Stack, outcome: RunOutcome) -> RunSummary:
    status = RunSummary(
        outcome.run_id, outcome.phase, outcome.reason, is_complete=outcome.is_complete, notes=outcome.notes
    )
    tails: dict[str, list[str]] = {}
    if outcome.summary is not None and not outcome.is_complete:
        try:
            content = stack.store.read_file(outcome.summary, "ranking.json")
            ranking = Ranking.model_validate_json(content)
            tails = {lane.record.lane: lane.record.log_tail for lane in ranking.evaluated}
        except (LanekitError, ValidationError):
            tails = {}
    for record in outcome.records:
        score = f", score {record.score:.4f}" if record.score is not None else ""
        is_other = split_replicate(record.lane)[1] != FIRST
        unranked = f"a replicate{score}" if is_other and record.status == "ok" else record.status
        status.lanes[record.lane] = f"rank {record.rank}{score}" if record.rank else unranked
        if record.status == "failed":
            reason, _, remedy = record.reason.partition("\n  remedy: ")
            tail = tails.get(record.lane, [])
            status.failed[record.lane] = {"reason": reason, "remedy": remedy, "log_tail": tail}
    for lane, reason in outcome.passed_over.items():
        status.lanes[lane] = f"{status.lanes.get(lane, '')}, no package: {reason}".lstrip(", ")
    for lane, reason in outcome.refused.items():
        status.failed[f"package of {lane}"] = {"reason": reason, "remedy": "", "log_tail": []}
    return status


def show_stack(console: Console, status: StackStatus, *, is_one_run: bool) -> None:
    """Print the status."""
    if not is_one_run or status.problems:
        console.print(_draw_services(status))
    for problem in status.problems:
        console.print(f"! {problem.where}: {problem.message}", style="yellow", markup=False, highlight=False,
                      soft_wrap=True)  # fmt: skip
        console.print(f"    {problem.remedy}", markup=False, highlight=False, soft_wrap=True)
    waiting = [f"{name} {length}" for name, length in status.queues.items() if length]
    if status.queues and not is_one_run:
        console.print("queues   " + ("   ".join(waiting) or "empty"), markup=False, highlight=False)
    if not status.runs and not status.has_problem("minio"):
        console.print("no run was enqueued yet: python scripts/enqueue_lane.py --all")
    for run in status.runs:
        console.print()
        _show_run(console, run, is_whole=is_one_run)


def _draw_services(status: StackStatus) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("service", "state", "name", "device", "job", "seen"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=40)

    def add(service: str, *cells: str, is_up: bool = True) -> None:
        mark = Text("✓ ", style="green") if is_up else Text("✗ ", style="red")
        table.add_row(mark + Text(service, style="default"), *cells)

    for part in ("redis", "minio"):
        is_away = status.has_problem(part)
        add(part, "away" if is_away else "answers", is_up=not is_away)
    age_s = status.controller_age_s
    state = "reports" if age_s is not None else "silent"
    add("controller", state, "", "", "", _say_age(age_s), is_up=age_s is not None)
    for service in WORKERS:
        own = [worker for worker in status.workers if worker.report.service == service]
        if not own:
            add(service, "no worker", is_up=False)
        for worker in own:
            report = worker.report
            devices = ", ".join(sorted({name_device(name) for name in report.devices.values()}))
            stage, _, key = report.job_id.rpartition("-")
            job = f"{stage} {key[:12]}" if stage else report.job_id
            state = "busy" if report.job_id else "idle"
            add(service, state, report.name, devices, job, _say_age(worker.age_s))
    return table


def _say_age(age_s: float | None) -> str:
    return "" if age_s is None else f"{int(age_s)} s ago"


def _show_run(console: Console, run: RunSummary, *, is_whole: bool) -> None:
    style = "green" if run.is_complete else ("red" if run.phase in ("failed", "cancelled") else "cyan")
    title = Text(f"{run.run_id}  ", style="bold")
    title.append(run.phase, style=f"{style} not bold")
    if run.finished and run.finished not in run.phase:
        title.append(f"  {run.finished}", style="default not bold")
    if run.reason:
        title.append(f"  {run.reason.splitlines()[0]}", style="dim not bold")
    console.print(title, soft_wrap=True, highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for lane, state in run.lanes.items():
        table.add_row(f"  {lane}", Text(state, style="red" if lane in run.failed else ""))
    if run.lanes:
        console.print(table)
    for lane, failure in run.failed.items():
        _show_failure(console, lane, failure, is_whole=is_whole)
    _show_notes(console, run, is_whole=is_whole)
    if not is_whole and any(failure["log_tail"] for failure in run.failed.values()):
        console.print(f"  the ends of the logs: python scripts/status.py {run.run_id}", style="dim",
                      highlight=False, soft_wrap=True)  # fmt: skip


def _show_notes(console: Console, run: RunSummary, *, is_whole: bool) -> None:
    lines, most = merge_notes(run.notes), MAX_NOTES_OF_ONE if is_whole else MAX_NOTES_OF_MANY
    for line in lines[:most]:
        console.print(f"  note: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(lines) > most:
        command = f"python scripts/status.py {run.run_id}{' --json' if is_whole else ''}"
        console.print(f"  and {len(lines) - most} more notes: {command}", style="dim", highlight=False,
                      soft_wrap=True)  # fmt: skip


def _show_failure(console: Console, lane: str, failure: dict[str, Any], *, is_whole: bool) -> None:
    lines = [(f"  ✗ {lane}: {failure['reason']}", "red")]
    if failure["remedy"] and "remedy:" not in failure["reason"]:
        lines.append((f"    remedy: {failure['remedy']}", ""))
    if is_whole:
        lines += [(f"    | {line}", "dim") for line in failure["log_tail"][-LOG_TAIL_LINES:]]
    for line, style in lines:
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
