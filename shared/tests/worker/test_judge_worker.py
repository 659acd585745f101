"""A judge is waited for by a worker of its own: evaluations and speeds do not wait behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from real_services import RedisServer
from worker_bench import LOCK_DIGESTS, Bench, make_judge, make_timed, open_bench, wait_for

from lanekit.host.devices import list_devices, name_hardware
from lanekit.jobs import messages

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path, redis_server: RedisServer) -> Iterator[Bench]:
    with open_bench(tmp_path, redis_server) as bench:
        yield bench


def test_an_evaluation_and_a_speed_are_done_while_a_judge_is_waited_for(bench: Bench) -> None:
    evaluator, judge = bench.start("evaluator"), bench.start("judge")
    judged = bench.enqueue(make_judge(60_000))
    bench.await_state(judged, "running")
    assert bench.report(judged)["worker"].startswith("judge-")
    hardware = name_hardware(list_devices())
    for run in (make_timed("evaluate", 100), make_timed("measure_speed", 100, hardware=hardware)):
        bench.await_status(bench.enqueue(run), "finished")
    assert bench.report(judged)["state"] == "running"
    assert [e["stage"] for e in evaluator.read_events("stage_committed")] == ["evaluate", "measure_speed"]
    assert not judge.read_events("stage_committed") and not judge.read_events("device_acquired")


def test_a_judge_is_waited_for_while_an_evaluation_runs(bench: Bench) -> None:
    """The judge worker takes judges alone, also where it is idle and evaluations wait."""
    bench.start("judge")
    evaluation, run = bench.enqueue(make_timed("evaluate", 100)), make_judge(100)
    bench.await_status(bench.enqueue(run), "finished")
    assert bench.store.find_artifact(run) is not None
    assert bench.status(evaluation) == "queued"
    bench.start("evaluator")
    bench.await_status(evaluation, "finished")


def test_what_a_judge_worker_says_of_itself(bench: Bench) -> None:
    bench.start("judge")
    key = wait_for(lambda: bench.client.keys("lanekit:worker:*"), "no report of the worker")[0]
    report = messages.WorkerReport.model_validate_json(bench.client.get(key) or b"")
    assert (report.service, report.queues) == ("judge", ("judge",))
    assert report.lock_digest == LOCK_DIGESTS["evaluator"]


def test_a_job_in_the_other_queue_is_refused(bench: Bench) -> None:
    bench.start("evaluator")
    bench.start("judge")
    for run, queue, said in (
        (make_judge(100), "evaluator", "stage judge is the judge worker's, this is the evaluator worker"),
        (make_timed("evaluate", 100), "judge", "stage evaluate is the evaluator worker's, this is the judge"),
    ):
        failure = bench.await_failure(bench.enqueue(run, queue=queue))
        assert failure.message.startswith(said)
        assert failure.remedy
