"""A bench for worker processes: starts them, queues jobs as the controller does, reads logs and Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import processes
import redis
from processes import is_dead as is_dead
from real_services import RedisServer
from rq import Queue
from rq.serializers import JSONSerializer

from lanekit.host.checkout import find_project_root
from lanekit.jobs import messages
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.safe_job import FUNCTION
from lanekit.plan.graph import StageRun, make_stage_run
from lanekit.sources.locks import load_lock_digests
from lanekit.spec.evaluation import EngineParams, EvaluateParams, MeasureSpeedParams
from lanekit.spec.experiment_file import load_benchmark
from lanekit.spec.judge import JudgeParams
from lanekit.spec.params import FetchModelParams, Parameters, PruneParams, Source
from lanekit.spec.quantization import GptqParams
from lanekit.store.folder import FolderStore
from lanekit.worker.lease import open_lock, try_lock

SUPPORT = Path(__file__).parent
PATIENCE_SECONDS = 30.0
FAST = {"report": 0.5, "job_ttl": 20.0, "poll": 0.05}
LOCK_DIGESTS = load_lock_digests(find_project_root())


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until something is so, as long as a worker may take; see processes.wait_for."""
    return processes.wait_for(condition, what, seconds)


class DeviceHold(NamedTuple):
    """A hold of a device that has ended; times as a log writes them, `worker` its place in the bench."""

    start: str
    end: str
    device: str
    stage: str
    worker: int


def is_leased(locks: Path, device_id: str) -> bool:
    """Whether somebody has the device's lock."""
    descriptor = open_lock(locks / f"{device_id}.lock")
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


def make_run(stage: str, params: Parameters) -> StageRun:
    """Make a run of this image's own versions, without inputs."""
    return make_stage_run(stage, params, {}, LOCK_DIGESTS)


def make_fetch(name: str, digest: str = "a" * 40) -> StageRun:
    """Make a run without a device; `name` is what the double does."""
    return make_run("fetch_model", FetchModelParams(name=name, model=Source(source="org/m", digest=digest)))


def make_judge(milliseconds: int) -> StageRun:
    """Make a judge's run that takes so long; nobody is asked."""
    benchmark = load_benchmark(find_project_root() / "lanes" / "benchmarks" / "komt_bench.yaml")
    params = JudgeParams(url="http://judge:8000/v1", model="m", max_tokens=milliseconds, benchmark=benchmark)
    return make_run("judge", params)


def make_timed(stage: str, milliseconds: int, seed: int = 0, hardware: str = "") -> StageRun:
    """Make a run on the device that takes so long; the seed tells equal ones apart."""
    engine = EngineParams(engine="transformers", max_model_len=milliseconds, seed=seed)
    params: dict[str, Parameters] = {
        "prune": PruneParams(keep_layers=1, max_length=milliseconds, seed=seed),
        "gptq": GptqParams(scheme="W4A16", max_length=milliseconds, seed=seed),
        "evaluate": EvaluateParams(engine=engine, benchmarks=()),
        "measure_speed": MeasureSpeedParams(engine=engine, hardware=hardware),
    }
    return make_run(stage, params[stage])


@contextmanager
def open_bench(root: Path, server: RedisServer) -> Iterator[Bench]:
    """Give a bench over an empty Redis and an empty store; its workers end with the block."""
    FolderStore(root / "store")
    server.client().flushall()
    bench = Bench(root, server)
    try:
        yield bench
    finally:
        bench.close()


@dataclass
class WorkerProcess:
    """One worker process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def read_events(self, name: str = "") -> list[dict[str, Any]]:
        """Return its log's events; a line that is no JSON object fails the test."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines]
        return [event for event in events if not name or event["event"] == name]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> float:
        """Stop it, and return the seconds it took."""
        start = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(PATIENCE_SECONDS)
        return time.monotonic() - start


@dataclass
class Bench:
    """Workers over one folder store and one Redis."""

    root: Path
    server: RedisServer
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def client(self) -> redis.Redis:
        """A raw client."""
        return self.server.client()

    @property
    def store(self) -> FolderStore:
        """The store."""
        return FolderStore(self.root / "store")

    def is_leased(self, device_id: str) -> bool:
        """Whether a stage has the device."""
        return is_leased(self.root / "locks", device_id)

    def list_holds(self) -> list[DeviceHold]:
        """Return the ended holds of devices, by their begin, as the workers' logs tell them."""
        holds = []
        for number, worker in enumerate(self.workers):
            begun: dict[tuple[str, str], str] = {}
            for event in worker.read_events():
                if event["event"] == "device_acquired":
                    begun[event["device"], event["key"]] = event["timestamp"]
                elif event["event"] == "device_released":
                    start = begun.pop((event["device"], event["key"]))
                    holds.append(
                        DeviceHold(start, event["timestamp"], event["device"], event["stage"], number)
                    )
        return sorted(holds)

    def start(
        self, service: str, *, await_report: bool = True, doubles: bool = True, **settings: Any
    ) -> WorkerProcess:
        """Start a worker, and wait until it reports; its stages are the tests' own, or the real ones."""
        timing = {**FAST, **settings.pop("timing", {})}
        text = json.dumps(
            {
                "service": service, "root": str(self.root), "redis": self.server.url,
                "devices": [], "device_kind": "cpu", "publish_seconds": 0, "timing": timing, **settings,
            }
        )  # fmt: skip
        log = self.root / f"worker-{len(self.workers)}.log"
        first = [str(SUPPORT / "double_services")] if doubles else []
        path = os.pathsep.join([*first, os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "LANEKIT_TEST_RECORD": str(self.root / "record")}
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, str(SUPPORT / "folder_worker.py"), text],
                stdout=stream, stderr=stream, env=environment,
            )  # fmt: skip
        worker = WorkerProcess(process, log)
        self.workers.append(worker)
        if await_report:
            wait_for(lambda: worker.read_events("worker_started"), f"{service} does not start")
        return worker

    def enqueue(self, run: StageRun, timeout_s: int = 60, **changes: Any) -> str:
        """Queue a run as the controller does; return its job id."""
        payload = messages.StageJob(
            stage=run.type.name,
            key=run.key,
            params=run.params.model_dump(mode="json"),
            timeout_s=timeout_s,
        )
        queue = Queue(
            changes.pop("queue", messages.name_queue(run)), connection=self.client, serializer=JSONSerializer
        )
        job_id = changes.pop("job_id", messages.make_job_id(run))
        queue.enqueue_call(
            FUNCTION, kwargs={"payload": payload.model_dump(mode="json") | changes}, timeout=-1,
            result_ttl=600, failure_ttl=600, job_id=job_id,
        )  # fmt: skip
        return job_id

    def status(self, job_id: str) -> str:
        """Return RQ's word for a job, an empty string where it is gone."""
        return (self.client.hget(f"rq:job:{job_id}", "status") or b"").decode()

    def await_status(self, job_id: str, status: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for RQ's word for a job."""
        wait_for(lambda: self.status(job_id) == status, f"{job_id} is not {status}", seconds)

    def report(self, job_id: str) -> dict[str, Any]:
        """Return a job's report, empty where there is none."""
        return json.loads(self.client.get(RedisKeys.report(job_id)) or b"{}")

    def await_state(self, job_id: str, state: str) -> None:
        """Wait until the worker says that the job is in a state."""
        wait_for(lambda: self.report(job_id).get("state") == state, f"{job_id} is not {state}")

    def failure(self, job_id: str) -> messages.FailureReport | None:
        """Return why a job failed."""
        content = self.client.get(RedisKeys.failure(job_id))
        return messages.FailureReport.model_validate_json(content) if content else None

    def await_failure(self, job_id: str, seconds: float = PATIENCE_SECONDS) -> messages.FailureReport:
        """Wait for the reason of a failure."""
        found: messages.FailureReport = wait_for(
            lambda: self.failure(job_id), f"{job_id} has not failed", seconds
        )
        return found

    def read_pid(self, run: StageRun) -> int:
        """Wait until a stage has told the process it runs in."""
        name = f"*/{run.name}-*/pid"
        text = wait_for(
            lambda: [t for p in self.store.scratch_root.glob(name) if (t := p.read_text())],
            f"{run.name} does not run",
        )
        return int(text[0])

    def list_unfinished(self) -> list[Path]:
        """Return the outputs that stand unfinished in the workers' scratch."""
        return [path for path in self.store.scratch_root.glob("*/*") if path.is_dir()]

    def read_record(self) -> list[dict[str, Any]]:
        """Return what the timed stages wrote down, in order of their ends."""
        path = self.root / "record"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def close(self) -> None:
        """Kill what still runs."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
