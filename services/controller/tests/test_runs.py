"""Whole runs: the same end as the embedded driver's, whatever is restarted or flushed on the way."""

from __future__ import annotations

import random
import signal
from collections import Counter
from typing import Any

import pytest

from controller.documents import RunFolders
from controller.publish import describe_outcome
from controller.reconcile import Policy
from controller.setup.__main__ import main as set_up
from controller.setup.accounts import name_secret
from controller.setup.policies import ACCOUNTS, CONTROLLER
from lanekit.jobs import messages
from lanekit.jobs.keys import RedisKeys
from lanekit.spec.stages import STAGE_TYPES
from lanekit.store.cache import ArtifactCache
from lanekit.store.folder import FolderStore
from lanekit.store.minio import MinioStore
from lanekit.store.minio_client import RetryPolicy, make_client

LANES = ("lane01", "lane05")


def test_two_lanes_reach_packages_as_embedded(stack: Any, embedded: Any, tmp_path: Any) -> None:
    spec = stack.enqueue(*LANES)
    ended = stack.settle(stack.make_controller(), spec)
    assert ended.phase == "complete" and ended.is_complete
    assert [package.position for package in ended.packages] == [1, 2]
    assert ended == describe_outcome(spec.run_id, embedded(spec, stack.store))
    elsewhere = embedded(spec, FolderStore(tmp_path / "other"))
    assert ended == describe_outcome(spec.run_id, elsewhere)
    assert max(Counter(stack.worker.done).values()) == 1
    assert stack.count("job_enqueued") == len(stack.worker.done) == stack.count("stage_done")
    assert stack.count("run_ended") == stack.count("run_seen") == 1


def test_what_is_published(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    ended = stack.settle(stack.make_controller(), spec)
    names = set(stack.documents.list_names(spec.run_id, ""))
    lanes = [lane.name for lane in spec.lanes]
    assert names == {
        "run.json", "outcome.json", "README.md", "summary.md", "summary.csv", "summary.html", "summary.png",
        *(f"lanes/{lane}/metrics.json" for lane in lanes),
    }  # fmt: skip
    assert ended.summary is not None
    assert (stack.root / "results" / "summary.md").read_bytes() == stack.store.read_file(
        ended.summary, "summary.md"
    )
    readme = stack.documents.read(spec.run_id, "README.md").decode()
    assert all(f"`{lane}`" in readme for lane in lanes) and "submit.zip" in readme
    snapshot = stack.read_snapshot(spec)
    assert snapshot.phase == "complete"
    assert {"rank", "package", "verify_package"} <= {run.stage for run in snapshot.runs}


@pytest.mark.parametrize("seed", range(3))
def test_restarts_change_nothing(stack: Any, embedded: Any, seed: int) -> None:
    dice = random.Random(seed)
    spec = stack.enqueue(*LANES)
    controllers = [stack.make_controller()]

    def choose() -> Any:
        if dice.random() < 0.5:
            controllers.append(stack.make_controller())
        return controllers[-1]

    ended = stack.settle(choose, spec)
    assert ended == describe_outcome(spec.run_id, embedded(spec, stack.store))
    assert max(Counter(stack.worker.done).values()) == 1
    assert stack.count("job_enqueued") == len(stack.worker.done)


def test_a_new_controller_each_tick(stack: Any, embedded: Any) -> None:
    spec = stack.enqueue(*LANES)
    ended = stack.settle(stack.make_controller, spec)
    assert ended == describe_outcome(spec.run_id, embedded(spec, stack.store))
    assert stack.count("job_enqueued") == len(stack.worker.done)


def test_two_controllers_at_once(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    pair = [stack.make_controller(), stack.make_controller()]
    turns = iter(lambda: pair.reverse() or pair[0], None)
    ended = stack.settle(lambda: next(turns), spec)
    assert ended.is_complete
    assert stack.count("job_enqueued") == len(stack.worker.done) == len(set(stack.worker.done))


def test_a_held_lock_is_left_alone(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    assert stack.client.set("lanekit:controller-lock", "other", px=60_000)
    stack.make_controller().tick()
    assert not stack.list_queued() and stack.read_outcome(spec) is None


def test_flushes_lose_nothing(stack: Any, embedded: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    for _ in range(12):
        controller.tick()
        stack.worker.work(2)
        stack.client.flushall()
        stack.now_s += 1.0
    ended = stack.settle(controller, spec)
    assert ended == describe_outcome(spec.run_id, embedded(spec, stack.store))
    assert len(stack.worker.done) == len(set(stack.worker.done))


def test_after_a_flush_workers_may_speak_first(stack: Any) -> None:
    """The stage that runs over the flush is not queued; what was queued is, once workers had their time."""
    stack.enqueue(*LANES)
    patient = Policy(pauses_s=(0.0,), settle_s=10.0)
    stack.client.set("lanekit:epoch", 1.0)  # Redis has been up for long
    controller = stack.make_controller(patient)
    controller.tick()
    held = stack.take_stage("fetch_model")
    queued = stack.list_queued()
    assert queued
    stack.client.flushall()
    controller.tick()
    assert stack.list_queued() == []
    stack.worker.report(held)
    stack.make_controller(patient).tick()
    assert stack.list_queued() == []  # a restart does not forget the flush
    epoch_s = float(stack.client.get("lanekit:epoch"))
    stack.client.set("lanekit:epoch", epoch_s - 10.0)
    controller.tick()
    assert sorted(stack.list_queued()) == sorted(queued)
    stack.worker.finish(held)
    controller.tick()
    assert held.job.id not in stack.list_queued()


def test_nothing_is_enqueued_twice_in_a_thousand_ticks(stack: Any) -> None:
    spec = stack.enqueue()
    controller = stack.make_controller()
    controller.tick()
    enqueued = stack.count("job_enqueued")
    held = stack.worker.take()
    for tick in range(1000):
        if tick % 100 == 0:
            stack.worker.report(held)
        stack.now_s += 1.0
        controller.tick()
    assert stack.count("job_enqueued") == enqueued == len(stack.list_queued()) + 1
    assert stack.count("run_seen") == 1 and stack.read_outcome(spec) is None


def test_two_runs_share_their_stages(stack: Any) -> None:
    first, second = stack.enqueue("lane01", name="first"), stack.enqueue("lane01", "lane05", name="second")
    controller = stack.make_controller()
    assert stack.settle(controller, first).is_complete
    assert stack.settle(controller, second).is_complete
    assert max(Counter(stack.worker.done).values()) == 1
    stages = Counter(job.partition("-")[0] for job in stack.worker.done)
    assert stages["evaluate"] == 3 and stages["fetch_model"] == 1 and stages["rank"] == 2


def test_jobs_are_as_agreed(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    stack.make_controller().tick()
    job_id = stack.list_queued()[0]
    fields = {name.decode(): value for name, value in stack.client.hgetall(f"rq:job:{job_id}").items()}
    assert fields["timeout"] == b"-1" and fields["result_ttl"] == b"600"
    assert fields["failure_ttl"] == b"86400" and fields["status"] == b"queued"
    held = stack.worker.take()
    assert held.job.id == messages.make_job_id(held.run)
    assert held.run.key in {run.key for run in spec.runs}
    assert fields["description"].decode() == held.run.name


def test_the_snapshot_tells_place_and_progress(stack: Any) -> None:
    spec = stack.enqueue(*LANES)
    controller = stack.make_controller()
    controller.tick()
    held = stack.worker.take()
    controller.tick()
    snapshot = stack.read_snapshot(spec)
    runs = {run.key: run for run in snapshot.runs}
    assert snapshot.phase == "lanes" and set(runs) == {run.key for run in spec.runs}
    assert runs[held.run.key].status == "running" and runs[held.run.key].report.step == 1
    assert runs[held.run.key].attempt == 1
    places = sorted((r.queue, r.queue_position, r.attempt) for r in runs.values() if r.queue_position)
    assert places == [("trainer", 1, 0)], "the corpus waits for the base model and the suite"
    lane = next(lane for lane in snapshot.lanes if lane.name.startswith("lane01"))
    stages = [runs[key].stage for key in lane.keys]
    assert stages[0] == "fetch_model" and stages[-1] == "measure_speed" and "gptq" in stages
    assert all(STAGE_TYPES[stage] for stage in stages) and lane.reason == ""
    assert 0 < stack.client.ttl(RedisKeys.snapshot(spec.run_id)) <= 86400


@pytest.fixture
def minio_stack(stack: Any, minio_server: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stack over a real MinIO, with the controller's own account."""
    minio_server.start()
    monkeypatch.setenv("LANEKIT_MINIO_URL", minio_server.url)
    monkeypatch.setenv("MINIO_ROOT_USER", minio_server.root_user)
    monkeypatch.setenv("MINIO_ROOT_PASSWORD", minio_server.root_password)
    for account in ACCOUNTS:
        monkeypatch.setenv(name_secret(account), f"secret-of-{account}")
    assert set_up([]) == 0
    settings = minio_server.settings(CONTROLLER, f"secret-of-{CONTROLLER}")
    client = make_client(settings, RetryPolicy(total_seconds=0.2))
    stack.documents, stack.store = RunFolders(client), MinioStore(client)
    root = make_client(minio_server.settings())
    stack.worker.store = MinioStore(root, ArtifactCache(tmp_path / "cache", 10**9))
    return stack


def test_on_the_real_store(minio_stack: Any, minio_server: Any) -> None:
    spec = minio_stack.enqueue(*LANES)
    controller = minio_stack.make_controller()
    controller.tick()
    minio_stack.worker.work()
    with minio_server.outage(signal.SIGKILL):
        for _ in range(3):
            controller.tick()
    ended = minio_stack.settle(controller, spec)
    assert ended.is_complete and len(ended.packages) == 2
    assert minio_stack.count("store_lost") == minio_stack.count("store_back") == 1
    assert minio_stack.count("job_enqueued") == len(minio_stack.worker.done)
    names = [item.object_name for item in minio_stack.store.client.minio.list_objects("results")]
    assert {"runs/", "summary.md", "summary.csv", "summary.html", "summary.png"} <= set(names)
    minio_stack.documents.delete(spec.run_id, "run.json")
    controller.tick()
    assert spec.run_id not in controller.active
