"""What a run asks of the stack before it is handed over: which workers, of which version, on which device."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_services import RedisServer
from snapshots import CPU, GPU, LOCK, make_worker

from lanekit.commands.stack.health import check_processes
from lanekit.commands.stack.submit import check_lock_digests, choose_hardware, list_needed_workers
from lanekit.errors import InputError
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.messages import REPORT_TTL_SECONDS
from lanekit.spec.experiment_file import Experiment, load_experiment_lanes
from lanekit.spec.judge import JudgeSettings
from lanekit.spec.lane_file import Lane


@pytest.fixture
def plain(lanes_folder: Path) -> tuple[Experiment, list[Lane]]:
    """The demo, which has no judge."""
    return load_experiment_lanes(lanes_folder / "experiment.demo.yaml")


@pytest.fixture
def judged(plain: tuple[Experiment, list[Lane]]) -> tuple[Experiment, list[Lane]]:
    """The demo with a judge."""
    experiment, lanes = plain
    judge = JudgeSettings(url="http://judge:8000/v1", model="m")
    evaluation = experiment.evaluation.model_copy(update={"judge": judge})
    return experiment.model_copy(update={"evaluation": evaluation}), lanes


def test_a_run_needs_the_workers_of_its_stages(plain: tuple[Experiment, list[Lane]]) -> None:
    experiment, lanes = plain
    assert list_needed_workers(experiment, lanes) == ["trainer", "evaluator", "ranker", "quantizer"]
    unpacked = [lane for lane in lanes if lane.name == "lane05_sft_fp16"]
    assert list_needed_workers(experiment, unpacked) == ["trainer", "evaluator", "ranker"]


def test_only_a_run_that_judges_needs_a_judge_worker(judged: tuple[Experiment, list[Lane]]) -> None:
    experiment, lanes = judged
    assert list_needed_workers(experiment, lanes[:1])[-1] == "judge"
    others = tuple(benchmark for benchmark in experiment.benchmarks if benchmark.metric != "judge")
    nothing_to_judge = experiment.model_copy(update={"benchmarks": others})
    assert "judge" not in list_needed_workers(nothing_to_judge, lanes)


def test_a_missing_judge_worker_is_named_with_the_command_that_starts_it(redis_server: RedisServer) -> None:
    client = redis_server.client()
    client.flushall()
    client.set(RedisKeys.CONTROLLER, "{}", ex=REPORT_TTL_SECONDS)
    worker = make_worker("evaluator")
    client.set(RedisKeys.worker(worker.name), worker.model_dump_json(), ex=REPORT_TTL_SECONDS)
    assert check_processes(client, ["evaluator"]) == []
    (problem,) = check_processes(client, ["evaluator", "judge"])
    assert (problem.where, problem.message) == ("judge", "no worker is up, and lanes need one")
    assert problem.remedy.startswith("docker compose up -d judge;")
    client.flushall()


def test_a_judge_worker_is_held_to_the_evaluators_lock() -> None:
    locks = {"trainer": "other", "evaluator": LOCK}
    workers = [make_worker("evaluator"), make_worker("judge")]
    check_lock_digests(workers, ["evaluator", "judge"], locks)
    old = [make_worker("evaluator"), make_worker("judge", lock_digest="old")]
    with pytest.raises(InputError, match="another version than this checkout: judge-1"):
        check_lock_digests(old, ["evaluator", "judge"], locks)
    check_lock_digests(old, ["evaluator"], locks)  # no judge is needed


def test_a_judge_workers_processor_is_no_hardware_to_measure_on() -> None:
    assert choose_hardware([make_worker("evaluator"), make_worker("judge", device=CPU)], None) == GPU
    with pytest.raises(InputError, match="no evaluator reports a device"):
        choose_hardware([make_worker("judge", device=CPU)], None)
