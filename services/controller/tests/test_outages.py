"""Cancelled and unreadable runs, faults, and Redis or the store away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lanekit.errors import TransientError
from lanekit.jobs.keys import RedisKeys

LANES = ("lane01", "lane05")
SERVICE_SOURCE = Path(__file__).parents[1] / "src"


def test_cancel(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    controller.tick()
    held = stack.worker.take()
    stack.documents.write(spec.run_id, "cancelled.json", b"{}", "application/json")
    controller.tick()
    assert stack.list_queued() == [] and stack.read_outcome(spec) is None
    assert 0 < stack.client.ttl(RedisKeys.cancel(held.job.id)) <= 60
    assert stack.read_snapshot(spec).phase == "cancelled"
    stack.worker.fail(held, "cancelled")
    controller.tick()
    assert stack.read_outcome(spec).phase == "cancelled"
    assert stack.client.get(RedisKeys.failure(held.job.id)) is None
    for name in ("cancelled.json", "outcome.json"):
        stack.documents.delete(spec.run_id, name)
    assert stack.settle(controller, spec).is_complete


def test_cancel_spares_what_another_run_needs(stack: Any) -> None:
    first, second = stack.enqueue(*LANES, name="first"), stack.enqueue("lane01", name="second")
    controller = stack.make_controller()
    controller.tick()
    held, queued = stack.worker.take(), stack.list_queued()
    stack.documents.write(first.run_id, "cancelled.json", b"{}", "application/json")
    controller.tick()
    assert stack.list_queued() == queued and not stack.client.exists(RedisKeys.cancel(held.job.id))
    stack.worker.finish(held)
    assert stack.settle(controller, second).is_complete
    assert stack.read_outcome(first).phase == "cancelled"
    assert max(stack.worker.done.count(job) for job in stack.worker.done) == 1


def test_a_stage_stopped_for_one_run_is_not_failed_for_the_next(stack: Any) -> None:
    first = stack.enqueue("lane05", name="first")
    controller = stack.make_controller()
    controller.tick()
    held = stack.take_stage("fetch_model")
    stack.documents.write(first.run_id, "cancelled.json", b"{}", "application/json")
    controller.tick()
    second = stack.enqueue("lane05", name="second")
    controller.tick()
    assert not stack.client.exists(RedisKeys.cancel(held.job.id))  # taken back, but perhaps too late
    stack.worker.fail(held, "cancelled")
    controller.tick()
    assert held.job.id in stack.list_queued() and stack.count("stage_failed") == 0
    assert stack.settle(controller, second).is_complete


@pytest.mark.parametrize("content", [b"{not json", b"{}", b'{"run_id": 1}'])
def test_an_unreadable_run_ends_and_the_others_go_on(stack: Any, content: bytes) -> None:
    stack.documents.write("bad-000000000000", "run.json", content, "application/json")
    spec = stack.enqueue("lane05")
    ended = stack.settle(stack.make_controller(), spec)
    assert ended.is_complete
    bad = json.loads(stack.documents.read("bad-000000000000", "outcome.json"))
    assert bad["phase"] == "failed" and "not a readable run" in bad["reason"]


def test_a_run_that_contradicts_itself_ends(stack: Any) -> None:
    spec = stack.enqueue("lane05")
    for name, change in {
        "cut-000000000000": {"runs": []},
        "other-000000000000": {"run_id": spec.run_id},
        "key-000000000000": {"runs": [{**spec.runs[0].model_dump(mode="json"), "key": "0" * 64}]},
    }.items():
        content = {**spec.model_dump(mode="json"), "run_id": name, **change}
        stack.documents.write(name, "run.json", json.dumps(content).encode(), "application/json")
    controller = stack.make_controller()
    controller.tick()
    for name in ("cut-000000000000", "other-000000000000", "key-000000000000"):
        assert json.loads(stack.documents.read(name, "outcome.json"))["phase"] == "failed"
    assert stack.settle(controller, spec).is_complete


def test_a_fault_in_one_run_stops_no_other(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sick, well = stack.enqueue("lane01", name="sick"), stack.enqueue("lane05", name="well")
    controller = stack.make_controller()
    controller.tick()

    def burst(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(controller.active[sick.run_id], "replay", burst)
    assert stack.settle(controller, well).is_complete
    assert stack.read_outcome(sick) is None
    faults = [entry for entry in stack.logs if entry["event"] == "run_fault"]
    assert len(faults) == 1 and "a bug" in faults[0]["error"] and faults[0]["exc_info"]


def test_redis_away(stack: Any, redis_server: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    controller.tick()
    held = stack.worker.take()
    with redis_server.outage(signal.SIGKILL):
        for _ in range(5):
            controller.tick()
            controller.show_heartbeat()
            stack.now_s += 30.0
        assert not controller.is_well(60.0)
    stack.client.delete(RedisKeys.report(held.job.id))  # it expired meanwhile
    controller.tick()
    assert stack.count("redis_lost") == stack.count("redis_back") == 1
    assert stack.count("job_lost") == 0 and controller.is_well(60.0)
    stack.worker.report(held)
    stack.worker.finish(held)
    assert stack.settle(controller, spec).is_complete
    assert stack.count("job_lost") == 0


def test_the_store_away(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    controller.tick()
    find = stack.store.find_artifact

    def refuse(_locator: Any) -> None:
        raise TransientError("MinIO does not answer")

    stack.worker.work()
    monkeypatch.setattr(stack.store, "find_artifact", refuse)
    for _ in range(5):
        controller.tick()
        stack.now_s += 30.0
    controller.show_heartbeat()
    assert stack.list_queued() == [] and not controller.is_well(60.0)
    assert json.loads(stack.client.get(RedisKeys.CONTROLLER))["store"] == "lost"
    monkeypatch.setattr(stack.store, "find_artifact", find)
    assert stack.settle(controller, spec).is_complete
    assert stack.count("store_lost") == stack.count("store_back") == 1
    assert stack.count("job_lost") == 0


def test_the_process_stops_at_once(redis_server: Any, tmp_path: Path) -> None:
    """With Redis and without a store: it waits, says so once, and ends with 0 at SIGTERM."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(SERVICE_SOURCE),
        "LANEKIT_REDIS_URL": redis_server.url,
        "LANEKIT_MINIO_URL": "http://127.0.0.1:9",
        "LANEKIT_MINIO_ACCESS_KEY": "controller",
        "LANEKIT_MINIO_SECRET_KEY": "secret",
        "LANEKIT_ALIVE_FILE": str(tmp_path / "alive"),
    }
    redis_server.client().flushall()
    command = [sys.executable, "-m", "controller"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 30
            while redis_server.client().get(RedisKeys.CONTROLLER) is None:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            began_s = time.monotonic()
            output, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0 and time.monotonic() - began_s < 6
    events = [json.loads(line)["event"] for line in output.splitlines()]
    assert events[0] == "controller_started" and events[-1] == "controller_stopped"
    assert events.count("store_lost") == 1 and not (tmp_path / "alive").exists()


def test_no_torch() -> None:
    code = "import sys, controller.__main__; sys.exit('torch' in sys.modules or 'ranker' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SERVICE_SOURCE)}, check=False
    )
    assert done.returncode == 0
