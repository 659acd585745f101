"""A real Redis, a folder as the store, and a worker that makes doubles, for the controller's tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from real_services import RedisServer, minio_server, redis_server  # noqa: F401  fixtures
from twelve import load_twelve

from controller.loop import Controller
from controller.reconcile import Policy
from lanekit.execute.driver import run_plan
from lanekit.execute.stage import Measured, execute_stage
from lanekit.files.model_folder import write_report
from lanekit.host.checkout import find_project_root
from lanekit.jobs import job_state, messages
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.safe_job import SafeJob, find_job
from lanekit.plan.graph import Plan, StageRun
from lanekit.plan.planner import plan_lanes
from lanekit.plan.run_document import RunSpec, describe_run
from lanekit.plan.state import StageStatus
from lanekit.progress import Progress, ProgressEvent
from lanekit.results.course import Outcome, direct_run
from lanekit.results.outcome import RunOutcome, parse_outcome
from lanekit.results.schema import BenchmarkResult
from lanekit.results.screen import ScreenResult
from lanekit.results.speed import SpeedResult
from lanekit.sources.locks import SERVICES
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.params import RankParams
from lanekit.store.base import ArtifactStore
from lanekit.store.documents import JSON, RunDocuments
from lanekit.store.folder import FolderStore
from ranker.stages import rank

LOCK_DIGESTS = dict.fromkeys(SERVICES, "test-environment")
HARDWARE = "cpu: Test Processor"
QUEUES = ["trainer", "quantizer", "evaluator", messages.name_speed_queue(HARDWARE), "ranker"]
IMPATIENT = Policy(pauses_s=(0.0,), settle_s=0.0)


class FolderDocuments(RunDocuments):
    """The documents of runs as files, with the promises of the base class, whose client it lacks."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _place(self, run_id: str, name: str) -> Path:
        return self.root / "runs" / run_id / name

    def write(self, run_id: str, name: str, content: Any, content_type: str = JSON) -> None:
        assert "/" in content_type and isinstance(content, bytes)
        path = self._place(run_id, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def read(self, run_id: str, name: str) -> bytes | None:
        path = self._place(run_id, name)
        return path.read_bytes() if path.is_file() else None

    def list_runs(self) -> list[str]:
        return sorted(path.name for path in (self.root / "runs").glob("*"))

    def list_names(self, run_id: str, prefix: str = "") -> list[str]:
        folder = self.root / "runs" / run_id
        names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return sorted(name for name in names if name.startswith(prefix))

    def delete(self, run_id: str, name: str) -> None:
        self._place(run_id, name).unlink(missing_ok=True)

    def copy_to_top(self, run_id: str, names: Iterable[str]) -> None:
        for name in names:
            (self.root / name).write_bytes(self._place(run_id, name).read_bytes())


def make_double(run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Measured:
    """Make a small artifact of the right form; what is ranked follows from the model's key alone."""
    number = int(run.inputs.get("model", run.key)[:6], 16) / 16**6
    if run.type.name == "evaluate":
        results = {
            "benchmarks": {
                name: BenchmarkResult(
                    metric="accuracy", version=1, value=0.3 + number / 2, n_items=4
                ).model_dump()
                for name in ("kmmlu_pro", "kmmlu_redux", "ko_longrag")
            },
            "size_bytes": 1000 + int(1000 * number),
        }
        write_json(out / "metrics.json", results)
    elif run.type.name == "compare_logits":
        screen = ScreenResult(
            n_tokens=8, n_sequences=1, kl_mean=number, kl_median=number, kl_p99=number, same_top=1 - number,
            ppl=2.0, base_ppl=2.0, ppl_ratio=1.0,
        )  # fmt: skip
        write_json(out / "metrics.json", screen.model_dump())
    elif run.type.name == "measure_speed":
        speed = SpeedResult(
            s_per_token=0.05 + number / 50, s_per_token_all=[0.05 + number / 50], baseline_s_per_token=0.1,
            baseline_s_per_token_all=[0.1], batch_size=1, prompt_tokens=8, decode_tokens=8,
            engine="transformers", device=HARDWARE, device_kind="cpu",
        )  # fmt: skip
        write_json(out / "metrics.json", speed.model_dump())
    elif isinstance(run.params, RankParams):
        rank.run(run.params, inputs, out, progress)
    else:
        (out / "text").write_text(run.name, encoding="utf-8")
    return Measured(0.1)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content), encoding="utf-8")


@dataclass
class Held:
    """A job that a double worker has begun."""

    job: SafeJob
    execution: Any
    run: StageRun
    stage_job: messages.StageJob


class DoubleWorker:
    """Takes our jobs as the real worker does, and runs doubles in this process."""

    name = "double-worker"

    def __init__(self, client: redis.Redis, store: ArtifactStore) -> None:
        self.client = client
        self.store = store
        self.done: list[str] = []
        self.notes: dict[str, list[str]] = {}  # that a stage's report tells, by the stage's name

    def take(self) -> Held | None:
        """Begin the next job: RQ's records and a first report."""
        taken = job_state.take_job_id(self.client, QUEUES)
        if taken is None:
            return None
        job = find_job(taken[0].decode(), self.client)
        assert job is not None
        stage_job = job.read_stage_job()
        started = job_state.start_job(self.client, job, taken[1], self.name, 40)
        assert started is not None
        held = Held(job, started, stage_job.make_run(LOCK_DIGESTS), stage_job)
        self.report(held)
        return held

    def report(self, held: Held) -> None:
        """Say that the job is running."""
        report = messages.JobReport(
            worker=self.name, state="running", step=1, total=2, started_at=time.time()
        )
        self.client.set(
            RedisKeys.report(held.job.id), report.model_dump_json(), ex=messages.REPORT_TTL_SECONDS
        )

    def finish(self, held: Held) -> None:
        """Commit a double artifact and close the job."""

        def make(run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Measured:
            measured = make_double(run, inputs, out, progress)
            if run.type.name in self.notes:
                write_report(out, notes=self.notes[run.type.name])
            return measured

        execute_stage(held.run, held.stage_job.inputs, self.store, make, lambda *_: None)
        self.done.append(held.job.id)
        job_state.finish_job(self.client, held.job, held.execution, {})

    def fail(self, held: Held, message: str, transient: bool = False, log_tail: tuple[str, ...] = ()) -> None:
        """Close the job with a failure."""
        report = messages.FailureReport(
            message=message, remedy="a remedy", transient=transient, log_tail=log_tail, worker=self.name
        )
        job_state.fail_job(self.client, held.job, held.execution, report)

    def die(self, held: Held) -> None:
        """Be killed, and let the report's life pass."""
        self.client.delete(RedisKeys.report(held.job.id))

    def work(self, count: int = 1000) -> int:
        """Do up to `count` jobs; return how many there were."""
        for done in range(count):
            held = self.take()
            if held is None:
                return done
            self.finish(held)
        return count


class Silent:
    """A watcher of the embedded driver that watches nothing."""

    def show_status(self, run: StageRun, status: StageStatus, reason: str = "") -> None:
        """Nothing."""

    def show_notes(self, run: StageRun, notes: Sequence[str]) -> None:
        pass

    def show_progress(self, event: ProgressEvent) -> None:
        """Nothing."""


class Stack:
    """Redis, documents, store, one worker, and controllers as many as one likes; time goes as it is told."""

    def __init__(self, client: redis.Redis, root: Path) -> None:
        self.client = client
        self.root = root
        self.documents: Any = FolderDocuments(root / "results")
        self.store: Any = FolderStore(root)
        self.worker = DoubleWorker(client, self.store)
        self.now_s = 1000.0
        self.logs: list[Any] = []

    def make_controller(self, policy: Policy = IMPATIENT) -> Controller:
        """Return a new controller."""
        return Controller(self.documents, self.store, self.client, policy, lambda: self.now_s)

    def enqueue(self, *lanes: str, name: str = "test") -> RunSpec:
        """Hand over a run of these lanes, by number."""
        experiment, known = load_twelve(find_project_root() / "lanes" / "experiment.yaml")
        experiment = give_digests(experiment.model_copy(update={"name": name}))
        chosen = [lane for lane in known if not lanes or lane.name.split("_")[0] in lanes]
        engine = EngineParams(engine="transformers")
        plan = plan_lanes(experiment, chosen, engine, LOCK_DIGESTS, HARDWARE)
        spec = describe_run(experiment, plan, engine, LOCK_DIGESTS, HARDWARE)
        self.documents.write(spec.run_id, "run.json", spec.model_dump_json().encode(), "application/json")
        return spec

    def settle(self, controller: Controller | Callable[[], Controller], spec: RunSpec) -> RunOutcome:
        """Tick and work until the run has ended."""
        for _ in range(200):
            (controller if isinstance(controller, Controller) else controller()).tick()
            self.worker.work(3)
            self.now_s += 1.0
            ended = self.read_outcome(spec)
            if ended is not None:
                return ended
        raise AssertionError(f"the run does not end: {self.logs[-20:]}")

    def read_outcome(self, spec: RunSpec) -> RunOutcome | None:
        """Return the outcome document, None where there is none."""
        content = self.documents.read(spec.run_id, "outcome.json")
        return parse_outcome(content, "outcome.json") if content is not None else None

    def read_snapshot(self, spec: RunSpec) -> messages.RunSnapshot:
        """Return the snapshot in Redis."""
        content = self.client.get(RedisKeys.snapshot(spec.run_id))
        assert content is not None
        return messages.RunSnapshot.model_validate_json(content)  # type: ignore[arg-type]

    def count(self, event: str) -> int:
        """Return how often an event stands in the log."""
        return sum(entry["event"] == event for entry in self.logs)

    def list_queued(self) -> list[str]:
        """Return the ids of all queued jobs."""
        queued: list[str] = []
        for queue in QUEUES:
            queued += [name.decode() for name in self.client.lrange(f"rq:queue:{queue}", 0, -1)]  # type: ignore[union-attr]
        return queued

    def take_stage(self, stage: str) -> Held:
        """Work until a job of this stage comes, and return it begun but not finished."""
        while True:
            held = self.worker.take()
            assert held is not None, f"no job of {stage} in the queues"
            if held.run.type.name == stage:
                return held
            self.worker.finish(held)

    def take_stage_of(self, controller: Controller, stage: str) -> Held:
        """Work and tick until this stage is queued, and return it begun but not finished."""
        for _ in range(20):
            if any(job.startswith(f"{stage}-") for job in self.list_queued()):
                return self.take_stage(stage)
            self.worker.work(1)
            controller.tick()
        raise AssertionError(f"{stage} is never queued")


def give_digests(experiment: Experiment) -> Experiment:
    """Give every source a digest without reading it."""
    data = {n: s.model_copy(update={"digest": f"digest of {n}"}) for n, s in experiment.data.items()}
    base = experiment.base_model.model_copy(update={"digest": "digest of the base"})
    return experiment.model_copy(update={"data": data, "base_model": base})


def follow_embedded(spec: RunSpec, store: FolderStore) -> Outcome:
    """Run a run as the embedded default does, with doubles."""
    director = direct_run(spec, spec.make_plan(), store)
    plan: Plan = next(director)
    while True:
        try:
            plan = director.send(run_plan(plan, store, make_double, Silent(), 1))
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


@pytest.fixture
def embedded() -> Callable[[RunSpec, FolderStore], Outcome]:
    """The embedded driver over doubles."""
    return follow_embedded


@pytest.fixture
def stack(redis_server: RedisServer, tmp_path: Path) -> Iterator[Stack]:  # noqa: F811
    """An empty stack."""
    redis_server.start()
    client = redis_server.client()
    client.flushall()
    stack = Stack(client, tmp_path / "store")
    with structlog.testing.capture_logs() as logs:
        stack.logs = logs
        yield stack
    client.close()
