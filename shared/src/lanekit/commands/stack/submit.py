"""Handing a run to the controller: what the stack's workers are, and the run's documents in the store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lanekit.commands.stack.cli import Stack
from lanekit.errors import InputError, did_you_mean
from lanekit.files.hashing import list_files
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.messages import WorkerReport
from lanekit.plan.evaluation import list_judged
from lanekit.plan.graph import Plan, StageRun
from lanekit.plan.run_document import RunSpec
from lanekit.spec.experiment_file import Experiment, is_local
from lanekit.spec.lane_file import Lane
from lanekit.spec.source import list_sources
from lanekit.spec.stages import STAGE_TYPES, WORKERS
from lanekit.store.base import is_committed
from lanekit.store.documents import RunPaths
from lanekit.store.local_sources import find_source, publish_source
from lanekit.store.minio_client import StoreClient

Enqueued = Literal["new", "again", "under way", "complete"]
ALWAYS_NEEDED = ("trainer", "evaluator", "ranker")
REBUILD = "docker compose up -d --build"


def list_needed_workers(experiment: Experiment, lanes: Iterable[Lane]) -> list[str]:
    """Return the workers that must be up: fetching, evaluating and ranking come with every run."""
    staged = [stage.type.worker for lane in lanes for stage in lane.stages]
    judging = [STAGE_TYPES["judge"].worker] if list_judged(experiment) else []
    return list(dict.fromkeys((*ALWAYS_NEEDED, *staged, *judging)))


def choose_hardware(workers: Iterable[WorkerReport], wanted: str | None) -> str:
    """Return the name of the device on which the stack's evaluators measure speed.

    Raises:
        InputError: they have several and none is wanted, or the wanted one is not there.
    """
    own = [worker for worker in workers if worker.service == "evaluator"]
    names = sorted({name for worker in own for name in worker.devices.values()})
    if not names:
        raise InputError("no evaluator reports a device", remedy="docker compose logs evaluator")
    if wanted:
        if wanted not in names:
            raise InputError(
                f"no evaluator has the hardware '{wanted}'{did_you_mean(wanted, names)}",
                remedy="the evaluators have: " + ", ".join(names),
            )
        return wanted
    if len(names) > 1:
        raise InputError(
            "the evaluators have different hardware, and speed is comparable on one alone",
            remedy="say which: " + " or ".join(f"--hardware '{name}'" for name in names),
        )
    return names[0]


def is_cuda(workers: Iterable[WorkerReport], hardware: str) -> bool:
    """Whether the hardware that the workers call by this name is a GPU."""
    return any(w.device_kind == "cuda" for w in workers if hardware in w.devices.values())


def check_lock_digests(
    workers: Iterable[WorkerReport], needed: Sequence[str], lock_digests: Mapping[str, str]
) -> None:
    """Compare the locks of the workers' images with those of this checkout: they are part of every key.

    Raises:
        InputError: they differ; names the workers.
    """
    other = [
        worker.name
        for worker in workers
        if worker.service in needed and worker.lock_digest != lock_digests[WORKERS[worker.service]]
    ]
    if other:
        raise InputError(
            f"images are of another version than this checkout: {', '.join(other)} "
            "(another services/<service>/requirements.lock)",
            remedy=REBUILD,
        )


def find_local_paths(plan: Plan) -> dict[str, Path]:
    """Return the local sources that a plan reads: path by digest."""
    sources = (source for run in plan.runs.values() for source in list_sources(run.params))
    return {source.digest: Path(source.source) for source in sources if is_local(source.source)}


def hand_over(stack: Stack, spec: RunSpec) -> Enqueued:
    """Write the run for the controller to find, and return what that means.

    A run that failed or was cancelled begins again with what is not committed yet, and so do the stages that
    failed of one that is under way. One that is complete, or under way without a failure, is left as it is.
    """
    run_id = spec.run_id
    content = spec.model_dump_json(indent=2).encode() + b"\n"
    stored = stack.documents.read(run_id, RunPaths.RUN)
    outcome = stack.read_outcome(run_id)
    if stored == content:
        if outcome is not None and outcome.is_complete:
            return "complete"
        is_cancelled = stack.documents.read(run_id, RunPaths.CANCELLED) is not None
        if outcome is None and not is_cancelled and not stack.documents.list_names(run_id, RunPaths.FAILURES):
            return "under way"
    clear_run(stack, run_id)
    if stored != content:
        stack.documents.write(run_id, RunPaths.RUN, content, "application/json")
    return "new" if stored is None else "again"


def clear_run(stack: Stack, run_id: str, only: frozenset[str] | None = None) -> int:
    """Let a run begin again: drop its failures (or `only` those keys), the cancellation, then the outcome.

    What Redis still says of a failed stage goes first: the controller would take it for a new failure.

    Returns:
        How many failures were dropped.
    """
    dropped = 0
    for name in stack.documents.list_names(run_id, RunPaths.FAILURES):
        key = Path(name).stem
        if only is not None and key not in only:
            continue
        stack.redis.delete(
            *(RedisKeys.failure(f"{stage}-{key}") for stage in STAGE_TYPES), RedisKeys.attempts(key)
        )
        stack.documents.delete(run_id, name)
        dropped += 1
    for name in (
        RunPaths.CANCELLED,
        RunPaths.OUTCOME,
    ):  # the outcome last: until then the run counts as ended
        if stack.documents.read(run_id, name) is not None:
            stack.documents.delete(run_id, name)
    return dropped


def find_lane_failures(plan: Plan, failed: Iterable[str], lanes: Iterable[str]) -> frozenset[str]:
    """Return the failures that stand in these lanes' way: their stages', and all of ranking and packaging."""
    needed: set[str] = set().union(*(plan.collect_lane_runs(lane) for lane in lanes))
    return frozenset(key for key in failed if key in needed or key not in plan.runs)


def count_committed(stack: Stack, plan: Plan) -> int:
    """Return how many of a plan's runs are committed."""

    def is_there(run: StageRun) -> bool:
        return is_committed(stack.store, run)

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(is_there, plan.runs.values()))


def upload_sources(client: StoreClient, sources: Mapping[str, Path], console: Console) -> None:
    """Send the local sources that MinIO does not hold yet, with their size and the time it takes.

    Raises:
        InputError: a source changed since it was hashed.
    """
    for digest, path in sources.items():
        if find_source(client, digest) is not None:
            continue
        files = [path] if path.is_file() else list_files(path)
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        begin = time.monotonic()
        with Progress(
            TextColumn("uploading {task.description}"), BarColumn(bar_width=24), TimeElapsedColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        ) as progress:  # fmt: skip
            progress.add_task(f"{path.name}, {megabytes:.1f} MB", total=None)
            publish_source(client, path, digest)
        seconds = time.monotonic() - begin
        console.print(
            f"uploaded {path.name}, {megabytes:.1f} MB in {seconds:.1f} s "
            f"({megabytes / max(seconds, 1e-3):.0f} MB/s)",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def describe_next(enqueued: Enqueued, run_id: str) -> list[str]:
    """Return what became of the request, and the commands that follow."""
    if enqueued == "complete":
        return ["it is complete already; bring it here with:", f"  python scripts/fetch.py {run_id}"]
    said = {
        "new": "enqueued",
        "again": "enqueued again: its failures and its cancellation are forgotten, what is committed stays",
        "under way": "it is under way already; nothing was changed",
    }
    return [
        said[enqueued],
        f"  python scripts/status.py {run_id} --watch   # follow it",
        f"  python scripts/cancel.py {run_id}           # stop it",
        f"  python scripts/fetch.py {run_id}            # when it has ended: tables and packages",
    ]
