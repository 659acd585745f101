"""Failed stages and lost workers: what is tried again, what stops, and what goes on."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from controller.reconcile import Policy
from lanekit.jobs.keys import RedisKeys
from lanekit.store.documents import RunPaths

LANES = ("lane01", "lane05")


def test_a_dead_worker_s_job_comes_back(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    controller.tick()
    held = stack.take_stage("fetch_model")
    controller.tick()
    stack.worker.work()
    controller.tick()
    stack.worker.die(held)
    waited_s = 0.0
    while not stack.list_queued():
        stack.now_s += 1.0
        waited_s += 1.0
        controller.tick()
        assert waited_s < 30
    assert stack.list_queued() == [held.job.id]
    assert stack.client.zcard("rq:wip:trainer") == 0
    lost = next(entry for entry in stack.logs if entry["event"] == "job_lost")
    assert lost["silent_s"] == pytest.approx(waited_s, abs=1) and lost["attempt"] == 2
    assert stack.settle(controller, spec).is_complete


def test_a_worker_dead_before_its_first_word(stack: Any) -> None:
    """Its job stands in RQ's intermediate list: neither queued nor started."""
    spec = stack.enqueue("lane05")
    controller = stack.make_controller()
    controller.tick()
    stack.client.lmove("rq:queue:trainer", "rq:queue:trainer:intermediate", "LEFT", "RIGHT")
    stack.worker.work()
    for _ in range(22):
        stack.now_s += 1.0
        controller.tick()
    assert stack.count("job_lost") == 1
    assert stack.client.llen("rq:queue:trainer:intermediate") == 0
    assert stack.settle(controller, spec).is_complete


def test_a_stage_that_kills_its_worker_fails_for_good(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    for _ in range(90):
        controller.tick()
        held = stack.worker.take()
        while held is not None:
            if held.run.type.name == "sft":
                stack.worker.die(held)
            else:
                stack.worker.finish(held)
            held = stack.worker.take()
        stack.now_s += 1.0
    ended = stack.read_outcome(spec)
    assert stack.count("job_lost") == 2
    reasons = {record.lane.split("_")[0]: record.reason for record in ended.records}
    assert "died without a word, 3 times" in reasons["lane05"] and reasons["lane01"] == ""


def test_a_passing_failure_is_tried_again_after_a_pause(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller(Policy(pauses_s=(0.3, 0.3), settle_s=0.0))
    controller.tick()
    for attempt in (1, 2):
        held = stack.take_stage("fetch_model")
        stack.worker.fail(held, "the GPU is busy", transient=True)
        stack.worker.work()
        controller.tick()
        assert stack.list_queued() == []
        info = next(run for run in stack.read_snapshot(spec).runs if run.key == held.run.key)
        assert info.status == "waiting" and "the GPU is busy" in info.reason and info.attempt == attempt
        time.sleep(0.35)
        controller.tick()
        assert held.job.id in stack.list_queued()
    assert stack.count("stage_retried") == 2
    assert stack.settle(controller, spec).is_complete


def test_attempts_are_used_up(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    controller.tick()
    for _ in range(3):
        held = stack.take_stage_of(controller, "sft")
        stack.worker.fail(held, "the GPU is busy", transient=True)
        controller.tick()
    assert stack.count("stage_retried") == 2 and stack.count("stage_failed") == 1
    ended = stack.settle(controller, spec)
    failed = [record for record in ended.records if record.status == "failed"]
    assert [record.lane.split("_")[0] for record in failed] == ["lane05"]
    assert "stage sft: the GPU is busy (3 attempts)" in failed[0].reason


def test_one_lane_fails_and_the_others_go_on(stack: Any) -> None:
    spec = stack.enqueue("lane01", "lane05", "lane06")
    controller = stack.make_controller()
    held = stack.take_stage_of(controller, "sft")
    stack.worker.fail(held, "loss is NaN", log_tail=("step 3", "nan"))
    ended = stack.settle(controller, spec)
    status = {record.lane.split("_")[0]: record.status for record in ended.records}
    assert status == {"baseline": "ok", "lane01": "ok", "lane05": "failed", "lane06": "failed"}
    assert ended.phase == "complete" and not ended.is_complete and ended.reason == "2 lane(s) failed"
    lane05 = next(lane.name for lane in spec.lanes if lane.name.startswith("lane05"))
    metrics = json.loads(stack.documents.read(spec.run_id, f"lanes/{lane05}/metrics.json"))
    assert metrics["log_tail"] == ["step 3", "nan"]
    assert metrics["reason"] == "stage sft: loss is NaN\n  remedy: a remedy"
    lane = next(lane for lane in stack.read_snapshot(spec).lanes if lane.name == lane05)
    assert lane.reason == metrics["reason"]
    blocked = [run for run in stack.read_snapshot(spec).runs if run.status == "blocked"]
    assert blocked and all("loss is NaN" in run.reason for run in blocked)


def test_retry_by_deleting_what_ended_it(stack: Any) -> None:
    """scripts/retry.py deletes failures/* and outcome.json: the same controller goes on."""
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    held = stack.take_stage_of(controller, "sft")
    stack.worker.fail(held, "loss is NaN")
    assert not stack.settle(controller, spec).is_complete
    stack.documents.delete(spec.run_id, RunPaths.failure(held.run.key))
    stack.documents.delete(spec.run_id, "outcome.json")
    ended = stack.settle(controller, spec)
    assert ended.is_complete and len(ended.packages) == 2


def test_retry_while_the_run_goes_on(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    held = stack.take_stage_of(controller, "sft")
    stack.worker.fail(held, "loss is NaN")
    controller.tick()
    controller.tick()
    info = next(run for run in stack.read_snapshot(spec).runs if run.key == held.run.key)
    assert info.status == "failed" and held.job.id not in stack.list_queued()
    stack.documents.delete(spec.run_id, RunPaths.failure(held.run.key))
    controller.tick()
    assert held.job.id in stack.list_queued()
    assert stack.settle(controller, spec).is_complete


def test_a_new_run_tries_anew_and_mends_the_old_one(stack: Any) -> None:
    """A final failure is one run's: the next one that needs the stage gets another try."""
    first = stack.enqueue("lane05", name="first")
    controller = stack.make_controller()
    stack.worker.fail(stack.take_stage_of(controller, "sft"), "loss is NaN")
    assert stack.settle(controller, first).phase == "failed"
    second = stack.enqueue("lane05", name="second")
    assert stack.settle(controller, second).is_complete


def test_all_lanes_failed(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    controller.tick()
    stack.worker.fail(stack.take_stage("fetch_model"), "no such model on the hub")
    ended = stack.settle(controller, spec)
    assert ended.phase == "failed" and "no such model on the hub" in ended.reason
    assert ended.summary is not None and not ended.packages
    assert b"no such model" in stack.documents.read(spec.run_id, "summary.md")
    assert b"no such model" in stack.documents.read(spec.run_id, "README.md")


@pytest.mark.parametrize("poison", [b"{not json", b'{"message": 3}', None])
def test_a_poisoned_failure_is_final(stack: Any, poison: bytes | None) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    held = stack.take_stage_of(controller, "sft")
    stack.worker.fail(held, "x", transient=True)
    name = RedisKeys.failure(held.job.id)
    stack.client.delete(name)
    if poison is None:
        stack.client.lpush(name, "a list")
    else:
        stack.client.set(name, poison)
    ended = stack.settle(controller, spec)
    assert any("cannot be read" in record.reason for record in ended.records)
    assert stack.count("stage_retried") == 0


def test_a_poisoned_report_still_is_a_sign_of_life(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    controller.tick()
    held = stack.worker.take()
    stack.client.set(RedisKeys.report(held.job.id), "{", ex=20)
    controller.tick()
    info = next(run for run in stack.read_snapshot(spec).runs if run.key == held.run.key)
    assert info.status == "running" and info.report is None


def test_the_artifact_of_a_failed_input_is_asked_for_anew(stack: Any) -> None:
    """An operator deletes a broken artifact and retries: the controller does not go on from memory."""
    spec = stack.enqueue("lane05")
    controller = stack.make_controller()
    held = stack.take_stage_of(controller, "sft")
    stack.worker.fail(held, "fetch_model's artifact is corrupt")
    controller.tick()
    base = stack.store.locate(spec.make_plan().runs[held.run.inputs["model"]])
    (base / "manifest.json").unlink()
    stack.documents.delete(spec.run_id, RunPaths.failure(held.run.key))
    stack.now_s += 30.0
    assert stack.settle(controller, spec).is_complete
    assert sum(job.startswith("fetch_model") for job in stack.worker.done) == 2
