"""Real worker processes over a real Redis: what they run, survive and hand back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from real_services import RedisServer
from worker_bench import Bench, is_dead, make_fetch, make_timed, open_bench, wait_for

from lanekit.host.devices import list_devices
from lanekit.jobs import messages
from lanekit.jobs.keys import RedisKeys
from lanekit.worker.lease import DeviceLeases

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path, redis_server: RedisServer) -> Iterator[Bench]:
    with open_bench(tmp_path, redis_server) as bench:
        yield bench


def test_a_job_is_run_committed_and_told_of(bench: Bench) -> None:
    run = make_fetch("write")
    worker = bench.start("trainer")
    job_id = bench.enqueue(run)
    bench.await_status(job_id, "finished")
    assert bench.store.find_artifact(run) is not None
    names = [event["event"] for event in worker.read_events()]
    assert names == ["worker_started", "job_taken", "stage_started", "stage_committed"]
    started, committed = worker.read_events("stage_started")[0], worker.read_events("stage_committed")[0]
    assert (started["key"], started["name"], started["attempt"]) == (run.key, run.name, 1)
    assert committed["existing"] is False
    assert committed["size_bytes"] > 0
    moment = datetime.fromisoformat(committed["timestamp"].replace("Z", "+00:00"))
    assert moment.utcoffset() == timedelta(0)
    wait_for((bench.root / f"{run.name}.saved").is_file, "the log is not kept")
    assert (bench.root / "alive-trainer").is_file()
    key = wait_for(lambda: bench.client.keys("lanekit:worker:*"), "no report of the worker")[0]
    report = messages.WorkerReport.model_validate_json(bench.client.get(key) or b"")
    assert report.queues == ("trainer",)
    assert not bench.client.exists(RedisKeys.report(job_id))

    bench.enqueue(run)
    wait_for(lambda: len(worker.read_events("stage_committed")) == 2, "the second job is not done")
    assert worker.read_events("stage_committed")[1]["existing"] is True
    assert len(worker.read_events("stage_started")) == 1

    assert worker.stop() < 8
    assert worker.process.returncode == 0
    assert worker.read_events("modules")[0]["heavy"] == []
    assert not bench.client.keys("lanekit:worker:*")


@pytest.mark.parametrize(
    ("name", "message", "transient"),
    [
        ("refuse", "keep_layers is 31", False),
        ("busy", "the GPU is busy", True),
        ("crash", "RuntimeError: no idea", False),
        ("quit", "the worker process died (exit code 7)", True),
    ],
)
def test_failures_say_why_and_whether_they_may_pass(
    bench: Bench, name: str, message: str, transient: bool
) -> None:
    worker = bench.start("trainer")
    job_id = bench.enqueue(make_fetch(name))
    failure = bench.await_failure(job_id)
    assert failure.message.startswith(message)
    assert failure.remedy
    assert failure.transient is transient
    assert failure.worker == worker.read_events("worker_started")[0]["name"]
    assert bench.status(job_id) == "failed"
    assert 0 < bench.client.ttl(RedisKeys.failure(job_id)) <= messages.FAILURE_TTL_SECONDS
    assert worker.read_events("stage_failed")[0]["transient"] is transient
    run = make_fetch("write")
    bench.await_status(bench.enqueue(run), "finished")


def test_a_later_success_removes_the_failure(bench: Bench) -> None:
    run = make_fetch("write")
    job_id = messages.make_job_id(run)
    bench.client.set(RedisKeys.failure(job_id), messages.FailureReport(message="no").model_dump_json())
    bench.start("trainer")
    bench.enqueue(run)
    bench.await_status(job_id, "finished")
    assert bench.failure(job_id) is None


def test_the_time_limit_stops_the_stage(bench: Bench) -> None:
    run = make_fetch("sleep")
    bench.start("trainer")
    job_id = bench.enqueue(run, timeout_s=6)
    pid = bench.read_pid(run)
    failure = bench.await_failure(job_id)
    assert failure.message == f"{run.name} ran longer than fetch_model may: 6 s"
    assert "timeout_s" in failure.remedy
    assert not failure.transient
    assert is_dead(pid)


def test_a_cancelled_job_ends(bench: Bench) -> None:
    run = make_fetch("sleep")
    bench.start("trainer")
    job_id = bench.enqueue(run)
    pid = bench.read_pid(run)
    bench.client.set(RedisKeys.cancel(job_id), 1, ex=60)
    failure = bench.await_failure(job_id)
    assert (failure.message, failure.transient) == ("cancelled", False)
    assert is_dead(pid)
    assert bench.client.exists(RedisKeys.cancel(job_id))  # the controller reads it beside the failure


@pytest.fixture
def blocked() -> Iterator[ExitStack]:
    """What the test itself holds."""
    with ExitStack() as held:
        yield held


@pytest.mark.parametrize("state", ["running", "waiting for the device"])
def test_sigterm_hands_the_job_back(bench: Bench, state: str, blocked: ExitStack) -> None:
    run = make_timed("prune", 60_000)
    worker = bench.start("trainer", timing={"report": 5.0, "job_ttl": 60.0})
    others = DeviceLeases(list_devices(), bench.root / "locks")
    if state != "running":
        blocked.enter_context(others.hold("sft", "k", False, lambda: None))
    job_id = bench.enqueue(run)
    bench.await_state(job_id, state)
    other = bench.enqueue(make_timed("prune", 60_000, seed=1))
    pid = bench.read_pid(run) if state == "running" else 0
    assert worker.stop() < 10
    assert worker.process.returncode == 0
    assert bench.client.lrange("rq:queue:trainer", 0, -1) == [job_id.encode(), other.encode()]
    assert bench.status(job_id) == "queued"
    assert bench.failure(job_id) is None
    assert not bench.client.keys("lanekit:report:*")
    assert not bench.client.keys("lanekit:worker:*")
    assert not bench.client.zcard("rq:wip:trainer")
    if state == "running":
        assert not bench.is_leased(list_devices()[0].id)
        assert is_dead(pid)
    assert not bench.list_unfinished()
    assert worker.read_events("job_handed_back")


def test_sigterm_lets_a_finished_stage_be_published(bench: Bench) -> None:
    run = make_fetch("write")
    worker = bench.start("trainer", publish_seconds=2)
    job_id = bench.enqueue(run)
    bench.await_state(job_id, "publishing")
    worker.stop()
    assert worker.process.returncode == 0
    assert bench.status(job_id) == "finished"
    assert bench.store.find_artifact(run) is not None


def test_sigterm_hands_back_what_the_store_does_not_take_in_time(bench: Bench) -> None:
    run = make_fetch("write")
    worker = bench.start("trainer", publish_seconds=60, timing={"publish": 1.0})
    job_id = bench.enqueue(run)
    bench.await_state(job_id, "publishing")
    assert worker.stop() < 5
    assert worker.process.returncode == 0
    assert bench.status(job_id) == "queued"
    assert bench.client.lrange("rq:queue:trainer", 0, -1) == [job_id.encode()]
    assert not bench.client.keys("lanekit:report:*")
    assert bench.store.find_artifact(run) is None


@pytest.mark.parametrize("fault", ["restart", "flush", "wiped"])
def test_a_stage_outlives_redis(bench: Bench, redis_server: RedisServer, fault: str) -> None:
    """Away for longer than a report lives, or flushed, with another worker waiting for the device."""
    run = make_timed("prune", 8_000)
    trainer, quantizer = bench.start("trainer"), bench.start("quantizer")
    job_id = bench.enqueue(run)
    pid = bench.read_pid(run)
    waiting = make_timed("gptq", 100)
    waiting_id = bench.enqueue(waiting)
    bench.await_state(waiting_id, "waiting for the device")
    if fault == "flush":
        bench.client.flushall()
    else:
        with redis_server.outage():
            time.sleep(4)  # twice a report's life
        if fault == "wiped":
            bench.client.flushall()
    wait_for(lambda: len(bench.client.keys("lanekit:worker:*")) == 2, "the workers do not report again", 5)
    wait_for(lambda: bench.report(job_id).get("state") == "running", "the job is not reported again", 5)
    wait_for(lambda: bench.client.scard("rq:workers") == 2, "the workers are not registered again", 5)
    assert not is_dead(pid)
    wait_for(lambda: trainer.read_events("stage_committed"), "the stage is not committed")
    wait_for(lambda: quantizer.read_events("stage_committed"), "the waiting stage is not committed")
    assert bench.store.find_artifact(run) is not None
    assert len(trainer.read_events("stage_started")) == 1
    assert not trainer.read_events("stage_failed") + quantizer.read_events("stage_failed")
    first, second = bench.read_record()
    assert first["end"] <= second["start"]
    if fault == "restart":
        bench.await_status(job_id, "finished", 10)
        assert [event["event"] for event in trainer.read_events() if event["event"].startswith("redis")] == [
            "redis_lost",
            "redis_back",
        ]
    else:
        wait_for(lambda: not bench.client.keys("lanekit:report:*"), "a report stays", 5)
        assert not bench.client.keys("rq:job:*")
        assert not bench.client.keys("rq:execution*")
        assert not bench.client.keys("rq:results:*")
    bench.await_status(bench.enqueue(make_fetch("write")), "finished")


def test_an_idle_worker_survives_and_starts_without_redis(bench: Bench, redis_server: RedisServer) -> None:
    idle = bench.start("trainer")
    with redis_server.outage():
        late = bench.start("trainer")
        stopped = bench.start("quantizer")
        time.sleep(3)
        assert idle.process.poll() is None
        assert late.process.poll() is None
        assert stopped.stop() < 10
        assert stopped.process.returncode == 0
    jobs = [bench.enqueue(make_fetch("write", digest=str(n) * 40)) for n in range(6)]
    for job_id in jobs:
        bench.await_status(job_id, "finished")
    for worker in (idle, late):
        wait_for(lambda w=worker: w.read_events("redis_back"), "a worker does not say that Redis is back")
