"""Real worker processes on one host's devices: never two stages on one, whatever dies or is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from real_services import RedisServer
from worker_bench import Bench, is_dead, make_timed, open_bench, wait_for

from lanekit.host.devices import list_devices

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path, redis_server: RedisServer) -> Iterator[Bench]:
    with open_bench(tmp_path, redis_server) as bench:
        yield bench


def test_a_killed_holder_loses_the_device_to_the_next(bench: Bench) -> None:
    held, wanted = make_timed("prune", 60_000), make_timed("gptq", 100)
    trainer = bench.start("trainer")
    bench.enqueue(held)
    pid = bench.read_pid(held)
    bench.start("quantizer")
    job_id = bench.enqueue(wanted)
    bench.await_state(job_id, "waiting for the device")
    start = time.monotonic()
    trainer.stop(signal.SIGKILL)
    bench.await_status(job_id, "finished")
    assert time.monotonic() - start < 5  # as soon as the dead worker's child is dead
    assert is_dead(pid)
    (hold,) = bench.list_holds()  # the killed one says no end
    assert hold.stage == "gptq"
    wait_for(
        lambda: len(bench.client.keys("lanekit:worker:*")) == 1 and not bench.client.keys("lanekit:report:*"),
        "the dead worker's reports stay",
    )


def test_stages_of_four_workers_never_share_a_device(bench: Bench) -> None:
    for service in ("trainer", "trainer", "quantizer", "evaluator"):
        bench.start(service)
    runs = [make_timed("prune", 300, seed) for seed in range(4)]
    runs += [make_timed("gptq", 300, seed) for seed in range(2)]
    runs += [make_timed("evaluate", 300, seed) for seed in range(2)]
    runs += [make_timed("measure_speed", 300, hardware=list_devices()[0].name)]
    for job_id in [bench.enqueue(run) for run in runs]:
        bench.await_status(job_id, "finished", 60)
    own = sorted((line["start"], line["end"]) for line in bench.read_record())
    assert len(own) == len(runs)
    assert all(end <= start for (_, end), (start, _) in pairwise(own))
    holds = bench.list_holds()
    assert {hold.stage for hold in holds} == {"prune", "gptq", "evaluate", "measure_speed"}
    assert len({hold.worker for hold in holds}) == 4
    assert len(holds) == len(runs)
    assert all(one.end <= other.start for one, other in pairwise(holds))
    order = [line["stage"] for line in bench.read_record() if line["stage"] in ("evaluate", "measure_speed")]
    assert order == ["evaluate", "evaluate", "measure_speed"]  # the evaluator measures speed last


def test_an_exclusive_stage_has_every_device_of_its_host(bench: Bench) -> None:
    for service in ("trainer", "trainer", "evaluator"):
        bench.start(service, devices=["gpu-a", "gpu-b"], device_kind="cuda")
    jobs = [bench.enqueue(make_timed("prune", 1000, seed)) for seed in range(4)]
    wait_for(lambda: bench.is_leased("gpu-a") and bench.is_leased("gpu-b"), "both are used")
    jobs.append(bench.enqueue(make_timed("measure_speed", 500, hardware="gpu-a")))
    for job_id in jobs:
        bench.await_status(job_id, "finished")
    lines = bench.read_record()
    speed = next(line for line in lines if line["stage"] == "measure_speed")
    others = [line for line in lines if line is not speed]
    assert all(line["end"] <= speed["start"] or speed["end"] <= line["start"] for line in others)
    assert {line["visible"] for line in others} == {"0", "1"}
    assert speed["visible"] == "0"
    assert any(a is not b and a["start"] < b["end"] and b["start"] < a["end"] for a in others for b in others)


def test_an_evaluators_child_stays_on_a_gpu_for_a_while(bench: Bench) -> None:
    """Its engines sleep there for the next stage; another service's child would keep what it took."""
    bench.start("evaluator", devices=["gpu-a"], device_kind="cuda", timing={"keep_engines": 1.5})
    bench.start("trainer", devices=["gpu-a"], device_kind="cuda")
    runs = [make_timed("evaluate", 400, seed) for seed in range(2)]
    pids = []
    for run in runs:
        job_id = bench.enqueue(run)
        pids.append(bench.read_pid(run))
        bench.await_status(job_id, "finished")
    assert pids[0] == pids[1] and not is_dead(pids[0])
    wait_for(lambda: is_dead(pids[0]), "it holds the GPU", 10)
    trained = make_timed("prune", 400)
    job_id = bench.enqueue(trained)
    pid = bench.read_pid(trained)
    bench.await_status(job_id, "finished")
    assert is_dead(pid)
