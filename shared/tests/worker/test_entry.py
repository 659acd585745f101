"""`python -m lanekit.worker` as a container runs it: settings from the environment, MinIO and Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_services import MinioServer, RedisServer
from worker_bench import SUPPORT, Bench, WorkerProcess, make_fetch, open_bench, wait_for

from lanekit.host.checkout import find_project_root
from lanekit.jobs.messages import WorkerReport
from lanekit.sources.locks import hash_lock
from lanekit.spec.stages import BUCKETS
from lanekit.store.minio import MinioStore
from lanekit.store.minio_client import make_client

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "lanekit.worker", "--service"]


@pytest.fixture
def bench(tmp_path: Path, redis_server: RedisServer) -> Iterator[Bench]:
    with open_bench(tmp_path, redis_server) as bench:
        yield bench


def start(bench: Bench, service: str, **variables: str) -> WorkerProcess:
    """Start a worker by its own command."""
    path = os.pathsep.join([str(SUPPORT / "double_services"), os.environ.get("PYTHONPATH", "")])
    environment = {"PYTHONPATH": path, "LANEKIT_ALIVE_FILE": str(bench.root / "alive"), **variables}
    log = bench.root / f"entry-{len(bench.workers)}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*COMMAND, service], stdout=stream, stderr=stream, env={**os.environ, **environment}
        )
    worker = WorkerProcess(process, log)
    bench.workers.append(worker)
    return worker


def test_missing_settings_are_one_line_of_log(bench: Bench) -> None:
    worker = start(bench, "trainer", LANEKIT_REDIS_URL="", LANEKIT_MINIO_URL="http://127.0.0.1:1")
    assert worker.process.wait(30) == 1
    (event,) = worker.read_events()
    assert event["event"] == "worker_failed"
    assert "LANEKIT_MINIO_SECRET_KEY" in event["reason"]
    assert event["remedy"]


def test_an_unknown_service_is_a_usage_error() -> None:
    done = subprocess.run([*COMMAND, "cook"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "trainer" in done.stderr


def test_the_judge_worker_needs_the_evaluators_lock_alone(bench: Bench) -> None:
    worker = start(
        bench, "judge", LANEKIT_REDIS_URL=bench.server.url, LANEKIT_MINIO_URL="http://127.0.0.1:1",
        LANEKIT_MINIO_ACCESS_KEY="evaluator", LANEKIT_MINIO_SECRET_KEY="word",
        LANEKIT_CACHE=str(bench.root / "cache"),
    )  # fmt: skip
    key = wait_for(lambda: bench.client.keys("lanekit:worker:*"), "no report of the worker")[0]
    report = WorkerReport.model_validate_json(bench.client.get(key) or b"")
    assert report.queues == ("judge",)
    assert report.lock_digest == hash_lock(find_project_root() / "services/evaluator/requirements.lock")
    assert worker.stop() < 10


def test_a_worker_of_the_stack_commits_to_minio(bench: Bench, minio_server: MinioServer) -> None:
    client = make_client(minio_server.settings())
    for bucket in BUCKETS:
        if not client.minio.bucket_exists(bucket):
            client.minio.make_bucket(bucket)
    worker = start(
        bench, "trainer", LANEKIT_REDIS_URL=bench.server.url, LANEKIT_MINIO_URL=minio_server.url,
        LANEKIT_MINIO_ACCESS_KEY=minio_server.root_user, LANEKIT_CACHE=str(bench.root / "cache"),
        LANEKIT_MINIO_SECRET_KEY=minio_server.root_password,
    )  # fmt: skip
    run = make_fetch("write", digest="e" * 40)
    job_id = bench.enqueue(run)
    bench.await_status(job_id, "finished")
    assert MinioStore(client).find_artifact(run) is not None
    wait_for(
        lambda: list(client.minio.list_objects("results", prefix=f"logs/{run.name}.log")), "no log is kept"
    )
    assert (bench.root / "alive").is_file()
    with bench.server.outage():
        wait_for(lambda: worker.read_events("redis_lost"), "the outage is not told")
    again = make_fetch("environment", digest="f" * 40)
    bench.await_status(bench.enqueue(again), "finished")
    names = json.loads(MinioStore(client).read_file(again, "names.json"))
    assert "LANEKIT_MINIO_URL" in names
    assert not {"LANEKIT_MINIO_SECRET_KEY", "LANEKIT_REDIS_URL"} & set(names)
    assert worker.stop() < 10
    assert worker.process.returncode == 0
    assert not [path for path in (bench.root / "cache/cache/scratch").glob("*/*") if path.is_dir()]
