"""A run as data: one request is one run, wherever it is made; what was tampered with is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lanekit.errors import InputError
from lanekit.jobs.messages import make_job_id, make_stage_job, name_queue, parse_stage_job
from lanekit.plan.evaluation import plan_engine
from lanekit.plan.graph import Plan
from lanekit.plan.planner import plan_lanes
from lanekit.plan.run_document import RUN_ID, RunSpec, describe_ranking, describe_run, parse_run
from lanekit.spec.experiment_file import Experiment, load_experiment_lanes
from lanekit.spec.judge import JudgeSettings
from lanekit.spec.stages import STAGE_TYPES, WORKERS

HARDWARE = "NVIDIA L4"
DEMO = "experiment.demo.yaml"


def load(lanes_folder: Path, home: str) -> Experiment:
    experiment, _ = load_experiment_lanes(lanes_folder / DEMO)
    base = experiment.base_model.model_copy(update={"source": f"{home}/model", "digest": "b" * 64})
    data = {
        name: source.model_copy(update={"source": f"{home}/{name}.jsonl", "digest": "d" * 64})
        for name, source in experiment.data.items()
    }
    return experiment.model_copy(update={"base_model": base, "data": data})


def make_spec(
    lanes_folder: Path, lock_digests: Mapping[str, str], home: str = "/home/one", hardware: str = HARDWARE
) -> tuple[RunSpec, Plan]:
    experiment = load(lanes_folder, home)
    _, lanes = load_experiment_lanes(lanes_folder / DEMO)
    engine = plan_engine(experiment, lambda: True)
    plan = plan_lanes(experiment, lanes, engine, lock_digests, hardware)
    return describe_run(experiment, plan, engine, lock_digests, hardware), plan


def test_the_same_request_is_the_same_run_on_every_host(
    lanes_folder: Path, lock_digests: Mapping[str, str]
) -> None:
    spec, plan = make_spec(lanes_folder, lock_digests)
    other, other_plan = make_spec(lanes_folder, lock_digests, home="/srv/elsewhere")
    assert RUN_ID.match(spec.run_id)
    assert spec == other
    assert list(plan.runs) == list(other_plan.runs)
    assert "/home/one" not in spec.model_dump_json()


def test_margin_and_published_values_travel_and_older_runs_are_read_without(
    lanes_folder: Path, lock_digests: Mapping[str, str]
) -> None:
    spec, _ = make_spec(lanes_folder, lock_digests)
    experiment, _ = load_experiment_lanes(lanes_folder / "experiment.yaml")
    ranking = describe_ranking(experiment)
    assert (ranking.rules.margin, ranking.published_percent) == (
        0.01,
        {"kmmlu_pro": 37.5, "kmmlu_redux": 40.4},
    )
    assert spec.ranking.published_percent == {}  # nobody published anything of the tiny model
    older = json.loads(spec.model_dump_json())
    del older["ranking"]["rules"], older["ranking"]["published_percent"]
    assert parse_run(json.dumps(older).encode(), "run.json") == spec


def test_another_device_is_another_run_but_shares_all_but_the_speeds(
    lanes_folder: Path, lock_digests: Mapping[str, str]
) -> None:
    spec, plan = make_spec(lanes_folder, lock_digests)
    other, other_plan = make_spec(lanes_folder, lock_digests, hardware="NVIDIA H100")
    assert spec.run_id != other.run_id
    own = set(plan.runs) - set(other_plan.runs)
    assert {plan.runs[key].type.name for key in own} == {"measure_speed"}
    assert len(own) == len(plan.lanes)


def test_a_stored_run_gives_the_plan_back(lanes_folder: Path, lock_digests: Mapping[str, str]) -> None:
    spec, plan = make_spec(lanes_folder, lock_digests)
    again = parse_run(spec.model_dump_json().encode(), "run.json").make_plan()
    assert list(again.runs) == list(plan.runs)
    assert {key: run.name for key, run in again.runs.items()} == {k: r.name for k, r in plan.runs.items()}
    assert again.lanes == plan.lanes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["runs"][0]["params"].update(name="other"), "its key .* is not that of its contents"),
        (lambda d: d["runs"][0].update(stage="ftech_model"), "unknown stage 'ftech_model'"),
        (lambda d: d["environments"].update(trainer="another lock"), "another version of the code"),
        (lambda d: d["runs"][0]["params"].update(surprise=1), "surprise: Extra inputs"),
    ],
)
def test_a_run_that_was_changed_is_refused(
    lanes_folder: Path, lock_digests: Mapping[str, str], change: Any, message: str
) -> None:
    spec, _ = make_spec(lanes_folder, lock_digests)
    data = json.loads(spec.model_dump_json())
    change(data)
    with pytest.raises(InputError, match=message):
        parse_run(json.dumps(data).encode(), "run.json").make_plan()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"format_version": 2}'])
def test_what_is_no_run_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(InputError, match=r"runs/x/run\.json: not a readable run"):
        parse_run(content, "runs/x/run.json")


def test_a_job_carries_its_run(lanes_folder: Path, lock_digests: Mapping[str, str]) -> None:
    _, plan = make_spec(lanes_folder, lock_digests)
    for run in plan.runs.values():
        payload = json.loads(make_stage_job(plan, run).model_dump_json())
        job = parse_stage_job(payload)
        assert job.make_run(lock_digests).key == run.key
        assert job.inputs == plan.list_inputs(run)
        assert make_job_id(run) == f"{run.type.name}-{run.key}"
        with pytest.raises(InputError, match="another version of the code"):
            job.make_run(dict.fromkeys(lock_digests, "other"))


def test_speed_has_a_queue_for_each_device(lanes_folder: Path, lock_digests: Mapping[str, str]) -> None:
    _, plan = make_spec(lanes_folder, lock_digests)
    queues = {run.type.name: name_queue(run) for run in plan.runs.values()}
    assert queues["measure_speed"] == "speed-nvidia-l4"
    assert queues["evaluate"] == "evaluator"
    assert queues["gptq"] == "quantizer"
    assert queues["sft"] == "trainer"


def test_a_judge_has_a_queue_of_its_own_but_the_evaluators_lock(
    lanes_folder: Path, lock_digests: Mapping[str, str]
) -> None:
    experiment, lanes = load(lanes_folder, "/home/one"), load_experiment_lanes(lanes_folder / DEMO)[1]
    judge = JudgeSettings(url="http://judge:8000/v1", model="m")
    evaluation = experiment.evaluation.model_copy(update={"judge": judge})
    experiment = experiment.model_copy(update={"evaluation": evaluation})
    engine = plan_engine(experiment, lambda: True)
    own = dict(lock_digests) | {"evaluator": "its own"}
    plan = plan_lanes(experiment, lanes, engine, own, HARDWARE)
    judged = [run for run in plan.runs.values() if run.type.name == "judge"]
    assert judged and {name_queue(run) for run in judged} == {"judge"}
    for run in judged:
        assert make_stage_job(plan, run).make_run({"evaluator": "its own"}).key == run.key


def test_every_worker_has_a_service_whose_code_it_runs() -> None:
    assert WORKERS == {
        "trainer": "trainer", "quantizer": "quantizer", "evaluator": "evaluator", "judge": "evaluator",
        "ranker": "ranker",
    }  # fmt: skip
    assert {name for name, stage in STAGE_TYPES.items() if stage.waits} == {"judge"}


@pytest.mark.parametrize("payload", [{}, {"stage": "sft"}, {"stage": "sft", "key": "x", "params": {}}])
def test_a_payload_that_is_no_job_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="the queue holds a job that is none"):
        parse_stage_job(payload)
