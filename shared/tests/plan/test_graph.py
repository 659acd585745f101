"""What a plan's graph answers, and what enters a run's key."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lanekit.plan.graph import ArtifactRef, LanePlan, Plan, StageRun, make_stage_run
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.experiment_file import load_experiment
from lanekit.spec.judge import JudgeParams
from lanekit.spec.params import PruneParams
from lanekit.spec.stages import STAGE_TYPES


@pytest.fixture
def plan(make_run: Callable[..., StageRun]) -> Plan:
    """Two lanes over one base and one suite: a student with its teacher, and the base's quantization."""
    runs = [
        make_run("suite", "prepare_benchmarks"),
        make_run("base", "fetch_model"),
        make_run("pruned", "prune", model="base"),
        make_run("student", "distill", model="pruned", teacher="base"),
        make_run("packed", "gptq", model="base"),
        make_run("student-speed", "measure_speed", model="student", baseline="base"),
        make_run("student-eval", "evaluate", model="student", benchmarks="suite"),
        make_run("packed-eval", "evaluate", model="packed", benchmarks="suite"),
    ]
    lanes = {
        "student": LanePlan("student", "", "", (), "student", "student-eval", "student-speed"),
        "packed": LanePlan("packed", "", "", (), "packed", "packed-eval"),
        "chain": LanePlan("chain", "", "", (), "pruned"),
    }
    return Plan({run.key: run for run in runs}, lanes)


NEEDED = {
    "student": ("suite", "base", "pruned", "student", "student-speed", "student-eval"),
    "packed": ("suite", "base", "packed", "packed-eval"),
    "chain": ("base", "pruned"),
}


@pytest.mark.parametrize("lane", NEEDED)
def test_a_lane_needs_its_targets_and_what_they_are_made_from(plan: Plan, lane: str) -> None:
    assert plan.list_lane_keys(lane) == NEEDED[lane], "in the plan's order"
    assert plan.collect_lane_runs(lane) == set(NEEDED[lane])


def test_runs_that_lanes_share_are_asked_for_by_each(plan: Plan) -> None:
    assert plan.count_asked() == 6 + 4 + 2
    assert plan.collect_needed("student") == {"student", "pruned", "base"}
    assert plan.list_lanes_of("base") == ["student", "packed", "chain"]
    assert plan.list_lanes_of("suite") == ["student", "packed"]
    assert plan.list_lanes_of("packed-eval") == ["packed"]


def test_inputs_are_artifacts_by_role(lock_digests: Mapping[str, str]) -> None:
    first = make_stage_run("prune", PruneParams(keep_layers=28), {}, lock_digests)
    second = make_stage_run("prune", PruneParams(keep_layers=26), {"model": first.key}, lock_digests)
    assert second == StageRun(
        second.key, STAGE_TYPES["prune"], PruneParams(keep_layers=26), {"model": first.key}
    )
    plan = Plan({run.key: run for run in (first, second)}, {})
    (model,) = plan.list_inputs(second).values()
    assert model == ArtifactRef(key=first.key, path=f"checkpoints/prune28-{first.key[:12]}")
    assert (model.bucket, model.name) == ("checkpoints", f"prune28-{first.key[:12]}")


def test_another_stage_or_version_is_another_run(
    monkeypatch: pytest.MonkeyPatch, lock_digests: Mapping[str, str]
) -> None:
    def make(stage: str) -> str:
        return make_stage_run(stage, PruneParams(keep_layers=28), {"model": "m"}, lock_digests).key

    prune, sft, distill = STAGE_TYPES["prune"], STAGE_TYPES["sft"], STAGE_TYPES["distill"]
    assert (sft.service, sft.version) == (distill.service, distill.version)
    assert make("sft") != make("distill")
    before = make("prune")
    monkeypatch.setitem(STAGE_TYPES, "prune", dataclasses.replace(prune, version=prune.version + 1))
    assert make("prune") != before


def find_judged(lanes_folder: Path) -> Benchmark:
    experiment = load_experiment(lanes_folder / "experiment.yaml")
    return next(benchmark for benchmark in experiment.benchmarks if benchmark.metric == "judge")


@pytest.mark.parametrize("value", [datetime.date(2026, 1, 2), ("a", "b")])
def test_a_parameter_enters_the_key_as_the_json_that_a_job_carries(
    lanes_folder: Path, lock_digests: Mapping[str, str], value: object
) -> None:
    """YAML reads a bare date as one: the embedded run and the queue must agree on its key."""
    params = JudgeParams(
        url="http://j/v1", model="m", benchmark=find_judged(lanes_folder), extra_body={"since": value}
    )
    carried = JudgeParams.model_validate_json(params.model_dump_json())
    runs = [make_stage_run("judge", each, {"answers": "a"}, lock_digests) for each in (params, carried)]
    assert runs[0].key == runs[1].key
