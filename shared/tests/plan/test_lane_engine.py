"""A lane's own engine arguments in the plan: in its own keys alone, and the baseline stays plain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lanekit.plan.graph import BASELINE, Plan, make_stage_run
from lanekit.plan.planner import plan_lanes
from lanekit.plan.run_document import describe_run, parse_run
from lanekit.spec.evaluation import EngineParams, EvaluateParams, MeasureSpeedParams
from lanekit.spec.experiment_file import Experiment, load_experiment_lanes
from lanekit.spec.lane_engine import LaneEngine
from lanekit.spec.lane_file import Lane, replicate_lanes
from lanekit.spec.params import PackageParams

ENGINE = EngineParams(engine="vllm")
CACHE = LaneEngine(kv_cache_dtype="fp8")
NAME = "lane04_fp8_dynamic"


@pytest.fixture
def loaded(lanes_folder: Path) -> tuple[Experiment, list[Lane]]:
    experiment, lanes = load_experiment_lanes(lanes_folder / "experiment.yaml")
    data = {n: s.model_copy(update={"digest": f"digest of {n}"}) for n, s in experiment.data.items()}
    base = experiment.base_model.model_copy(update={"digest": "digest of the base"})
    return experiment.model_copy(update={"data": data, "base_model": base}), lanes


def give(lanes: list[Lane], engine: LaneEngine) -> list[Lane]:
    return [replace(lane, engine=engine) if lane.name == NAME else lane for lane in lanes]


def get_engines(plan: Plan, lane: str) -> tuple[EngineParams, EngineParams, EngineParams | None]:
    """Return the engines of a lane's evaluation, of its baseline's timing and of its own."""
    entry = plan.lanes[lane]
    evaluation, timing = (plan.runs[key or ""].params for key in (entry.evaluate_key, entry.speed_key))
    assert isinstance(evaluation, EvaluateParams) and isinstance(timing, MeasureSpeedParams)
    return evaluation.engine, timing.engine, timing.candidate_engine


def test_the_lanes_own_keys_change_and_no_others(
    loaded: tuple[Experiment, list[Lane]], lock_digests: Mapping[str, str]
) -> None:
    experiment, lanes = loaded
    before = plan_lanes(experiment, lanes, ENGINE, lock_digests)
    after = plan_lanes(experiment, give(lanes, CACHE), ENGINE, lock_digests)
    lost = {before.runs[key].type.name for key in set(before.runs) - set(after.runs)}
    assert lost == {"evaluate", "measure_speed"} and len(set(before.runs) - set(after.runs)) == 2
    assert {n: lane for n, lane in after.lanes.items() if n != NAME} == {
        n: lane for n, lane in before.lanes.items() if n != NAME
    }
    assert after.lanes[NAME].model_key == before.lanes[NAME].model_key
    own = ENGINE.model_copy(update={"kv_cache_dtype": "fp8"})
    assert get_engines(after, NAME) == (own, ENGINE, own)
    assert get_engines(after, BASELINE) == (ENGINE, ENGINE, None)


def test_arguments_that_all_have_change_no_key(
    loaded: tuple[Experiment, list[Lane]], lock_digests: Mapping[str, str]
) -> None:
    experiment, lanes = loaded
    engine = ENGINE.model_copy(update={"kv_cache_dtype": "fp8"})
    plain = plan_lanes(experiment, lanes, engine, lock_digests)
    assert plan_lanes(experiment, give(lanes, CACHE), engine, lock_digests).lanes == plain.lanes


def test_a_lanes_replicates_have_its_arguments(
    loaded: tuple[Experiment, list[Lane]], lock_digests: Mapping[str, str]
) -> None:
    experiment, lanes = loaded
    chosen = [replace(lane, engine=CACHE) for lane in lanes if lane.name == "lane01_gptq_w4a16"]
    plan = plan_lanes(experiment, replicate_lanes(chosen, 2), ENGINE, lock_digests)
    assert get_engines(plan, "lane01_gptq_w4a16-r2") == get_engines(plan, "lane01_gptq_w4a16")


def test_they_travel_with_the_run(
    loaded: tuple[Experiment, list[Lane]], lock_digests: Mapping[str, str]
) -> None:
    experiment, lanes = loaded
    plan = plan_lanes(experiment, give(lanes, CACHE), ENGINE, lock_digests)
    spec = describe_run(experiment, plan, ENGINE, lock_digests, "")
    parsed = parse_run(spec.model_dump_json().encode(), "here").make_plan()
    assert get_engines(parsed, NAME) == get_engines(plan, NAME)
    assert list(parsed.runs) == list(plan.runs)


def test_a_field_that_joined_later_is_in_the_key_where_it_says_something(
    lock_digests: Mapping[str, str],
) -> None:
    plain = PackageParams(
        package_name="p", lane="x", base_model_name="b", base_model_source="b", max_zip_bytes=1,
        max_unpacked_bytes=1,
    )  # fmt: skip
    needs = plain.model_copy(update={"engine_arguments": CACHE.arguments})
    assert needs.model_dump()["engine_arguments"] == CACHE.arguments
    # By hand: the key of before the field was there.
    assert "engine_arguments" not in plain.model_dump()
    runs = [make_stage_run("package", params, {"model": "m"}, lock_digests) for params in (plain, needs)]
    assert runs[0].key != runs[1].key
