"""Golden tests of planning, on the repository's own lane files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from twelve import DEMO, load_twelve

from lanekit.plan.evaluation import plan_engine
from lanekit.plan.graph import BASELINE, Plan, make_stage_run
from lanekit.plan.planner import plan_lanes
from lanekit.sources.resolve import resolve_source
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment, load_experiment_lanes, read_experiment_lanes
from lanekit.spec.judge import JudgeSettings
from lanekit.spec.lane_file import Lane
from lanekit.spec.params import FetchModelParams, Parameters, Source
from lanekit.spec.stages import STAGE_TYPES

EXPERIMENTS = ("experiment.yaml", DEMO)
N_LANES = 12
# By hand: each lane's fetch, suite, corpus, evaluation, screen and speed (6), and its stages.
ASKED_RUNS = {
    "baseline": 6, "lane01": 7, "lane02": 7, "lane03": 7, "lane04": 7, "lane05": 7, "lane06": 8,
    "lane07": 8, "lane08": 8, "lane09": 8, "lane10": 9, "lane11": 9, "lane12": 7,
}  # fmt: skip
DISTINCT_RUNS = {
    "fetch_model": 1, "prepare_corpus": 1, "prepare_benchmarks": 1, "sft": 1, "prune": 2, "distill": 2,
    "post_sft": 2, "gptq": 7, "fp8": 2, "evaluate": 13, "compare_logits": 13,
    "measure_speed": 13,
}  # fmt: skip
MISSION = {
    "lane01": [("gptq", "W4A16", 0.01)],
    "lane02": [("gptq", "W4A16", 0.05)],
    "lane03": [("gptq", "W8A16", 0.01)],
    "lane04": [("fp8", "FP8_DYNAMIC", None)],
    "lane05": [("sft", None, None)],
    "lane06": [("sft", None, None), ("gptq", "W4A16", 0.01)],
    "lane07": [("sft", None, None), ("gptq", "W4A16", 0.05)],
    "lane08": [("gptq", "W4A16", 0.01), ("post_sft", None, None)],
    "lane09": [("gptq", "W4A16", 0.05), ("post_sft", None, None)],
    "lane10": [("prune", 28, None), ("distill", None, None), ("gptq", "W4A16", 0.01)],
    "lane11": [("prune", 26, None), ("distill", None, None), ("gptq", "W4A16", 0.01)],
    "lane12": [("fp8", "FP8", None)],
}
ENGINE = EngineParams(engine="transformers")


def with_digests(experiment: Experiment) -> Experiment:
    """Give every source a digest without reading it."""
    data = {n: s.model_copy(update={"digest": f"digest of {n}"}) for n, s in experiment.data.items()}
    base = experiment.base_model.model_copy(update={"digest": "digest of the base"})
    return experiment.model_copy(update={"data": data, "base_model": base})


def with_judge(experiment: Experiment, **settings: Any) -> Experiment:
    """Give the experiment a judge."""
    judge = JudgeSettings.model_validate(settings)
    return experiment.model_copy(
        update={"evaluation": experiment.evaluation.model_copy(update={"judge": judge})}
    )


def load(folder: Path, name: str) -> tuple[Experiment, list[Lane]]:
    experiment, lanes = load_twelve(folder / name)
    return with_digests(experiment), lanes


@pytest.fixture
def plan(lanes_folder: Path, lock_digests: Mapping[str, str]) -> Plan:
    return plan_lanes(*load(lanes_folder, "experiment.yaml"), ENGINE, lock_digests)


def find_lane(plan: Plan, number: str) -> Any:
    return next(lane for name, lane in plan.lanes.items() if name.split("_")[0] == number)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_lane_file_loads(lanes_folder: Path, name: str) -> None:
    _, lanes, problems = read_experiment_lanes(lanes_folder / name)
    assert problems == []
    assert [lane.name for lane in lanes] == sorted(p.stem for p in lanes_folder.glob("lane*.yaml"))


def test_the_experiment_runs_every_lane_and_the_demo_the_twelve(lanes_folder: Path) -> None:
    names = [lane.name for lane in load_experiment_lanes(lanes_folder / "experiment.yaml")[1]]
    assert names == sorted(path.stem for path in lanes_folder.glob("lane*.yaml"))
    demo = [lane.name.split("_")[0] for lane in load_experiment_lanes(lanes_folder / DEMO)[1]]
    assert demo == list(MISSION) and len(names) > len(demo) == N_LANES


def test_lanes_are_those_of_the_mission(lanes_folder: Path) -> None:
    found = {
        lane.name.split("_")[0]: [
            (
                stage.type.name,
                getattr(stage.params, "scheme", getattr(stage.params, "keep_layers", None)),
                getattr(stage.params, "dampening", None),
            )
            for stage in lane.stages
        ]
        for lane in load(lanes_folder, "experiment.yaml")[1]
    }
    assert found == MISSION


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_asked_for_and_distinct_runs(lanes_folder: Path, lock_digests: Mapping[str, str], name: str) -> None:
    plan = plan_lanes(*load(lanes_folder, name), ENGINE, lock_digests)
    asked = {lane.split("_")[0]: len(plan.collect_lane_runs(lane)) for lane in plan.lanes}
    assert asked == ASKED_RUNS
    assert plan.count_asked() == 98
    assert Counter(run.type.name for run in plan.runs.values()) == DISTINCT_RUNS
    assert len(plan.runs) == 58


def test_inputs_come_before_the_runs_that_need_them(plan: Plan) -> None:
    seen: set[str] = set()
    for key, run in plan.runs.items():
        assert set(run.inputs.values()) <= seen
        seen.add(key)


def test_lanes_share_what_is_equal(plan: Plan) -> None:
    sft = {find_lane(plan, n).stage_keys[0] for n in ("lane05", "lane06", "lane07")}
    assert len(sft) == 1
    assert find_lane(plan, "lane08").stage_keys[0] == find_lane(plan, "lane01").model_key
    assert find_lane(plan, "lane09").stage_keys[0] == find_lane(plan, "lane02").model_key
    assert find_lane(plan, "lane06").model_key != find_lane(plan, "lane07").model_key
    names = [n.split("_")[0] for n in plan.list_lanes_of(sft.pop())]
    assert names == ["lane05", "lane06", "lane07"]


def test_every_speed_is_measured_against_the_base_and_kd_learns_from_it(plan: Plan) -> None:
    base = plan.lanes[BASELINE].model_key
    for run in plan.runs.values():
        if run.type.name == "measure_speed":
            assert run.inputs["baseline"] == base
        if run.type.name == "distill":
            assert run.inputs["teacher"] == base != run.inputs["model"]


def test_every_model_is_screened_against_the_base_on_the_first_corpus_and_no_other_key_changes(
    lanes_folder: Path, lock_digests: Mapping[str, str]
) -> None:
    experiment, lanes = load(lanes_folder, "experiment.yaml")
    plan = plan_lanes(experiment, lanes, ENGINE, lock_digests)
    without = plan_lanes(experiment.model_copy(update={"screen": None}), lanes, ENGINE, lock_digests)
    assert {plan.runs[key].type.name for key in set(plan.runs) - set(without.runs)} == {"compare_logits"}
    assert set(without.runs) < set(plan.runs)
    assert all(lane.screen_key is None for lane in without.lanes.values())
    base = plan.lanes[BASELINE].model_key
    (corpus,) = (key for key, run in plan.runs.items() if run.type.name == "prepare_corpus")
    for lane in plan.lanes.values():
        assert lane.screen_key is not None and lane.screen_key not in lane.target_keys
        assert plan.runs[lane.screen_key].inputs == {"model": lane.model_key, "base": base, "corpus": corpus}


def test_a_local_path_does_not_enter_the_key_but_its_content_does(
    tmp_path: Path, lock_digests: Mapping[str, str]
) -> None:
    keys = []
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors").write_bytes(content)
        source = resolve_source(Source(source=str(tmp_path / folder)), "model")
        keys.append(make_stage_run("fetch_model", FetchModelParams(name="m", model=source), {}, lock_digests))
    assert keys[0].key == keys[1].key != keys[2].key
    hub = [Source(source=name, digest="d" * 40) for name in ("org/a", "org/b")]
    runs = [make_stage_run("fetch_model", FetchModelParams(name="m", model=s), {}, lock_digests) for s in hub]
    assert runs[0].key != runs[1].key


def test_a_local_source_without_its_digest_cannot_be_planned(lock_digests: Mapping[str, str]) -> None:
    params = FetchModelParams(name="m", model=Source(source="/some/model"))
    with pytest.raises(ValueError, match="no digest yet"):
        make_stage_run("fetch_model", params, {}, lock_digests)


def list_changes(params: Parameters) -> list[Parameters]:
    """Return copies of `params`, each with one field of another value (not validated: keys take any)."""
    return [params.model_copy(update={name: "something else"}) for name in type(params).model_fields]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_parameter_of_every_planned_stage_changes_its_key(
    plan: Plan, lock_digests: Mapping[str, str]
) -> None:
    by_stage = {run.type.name: run for run in plan.runs.values()}
    for name, run in by_stage.items():
        changed = {make_stage_run(name, p, run.inputs, lock_digests).key for p in list_changes(run.params)}
        assert len(changed) == len(type(run.params).model_fields)
        assert run.key not in changed


JUDGE = {"url": "http://judge:8000/v1", "model": "a-judge"}


def test_a_judge_scores_each_lane_apart_from_its_generation(
    lanes_folder: Path, lock_digests: Mapping[str, str]
) -> None:
    experiment, lanes = load(lanes_folder, "experiment.yaml")
    without = plan_lanes(experiment, lanes, ENGINE, lock_digests)
    plan = plan_lanes(with_judge(experiment, **JUDGE), lanes, ENGINE, lock_digests)
    added = [plan.runs[key] for key in plan.runs if key not in without.runs]
    assert {run.type.name for run in added} == {"judge"} and len(added) == N_LANES + 1
    assert set(without.runs) < set(plan.runs)
    for lane in plan.lanes.values():
        assert lane.judge_key is not None and lane.judge_key in lane.target_keys
        assert plan.runs[lane.judge_key].inputs["answers"] == lane.evaluate_key
    assert all(lane.judge_key is None for lane in without.lanes.values())


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"url": "http://elsewhere:9/v1"}, True), ({"concurrency": 1}, True),
        ({"max_cost": 3.5, "price_per_million_output_tokens": 4.0}, True),
        ({"timeout_s": 1.0}, True), ({"model": "another"}, False), ({"temperature": 0.5}, False),
        ({"extra_body": {"top_k": 1}}, False),
    ],
)  # fmt: skip
def test_how_a_judge_is_reached_does_not_enter_its_key(
    lanes_folder: Path, lock_digests: Mapping[str, str], change: dict[str, Any], same: bool
) -> None:
    experiment, lanes = load(lanes_folder, "experiment.yaml")
    before = plan_lanes(with_judge(experiment, **JUDGE), lanes, ENGINE, lock_digests)
    after = plan_lanes(with_judge(experiment, **{**JUDGE, **change}), lanes, ENGINE, lock_digests)
    assert (set(before.runs) == set(after.runs)) is same


def test_a_judges_key_can_come_from_no_other_secret(lanes_folder: Path) -> None:
    experiment, _ = load(lanes_folder, "experiment.yaml")
    with pytest.raises(ValidationError, match="api_key_env"):
        with_judge(experiment, **JUDGE, api_key_env="LANEKIT_MINIO_SECRET_KEY")


def test_another_service_environment_changes_only_its_own_stages(
    lanes_folder: Path, lock_digests: Mapping[str, str]
) -> None:
    experiment, lanes = load(lanes_folder, "experiment.yaml")
    before = plan_lanes(experiment, lanes, ENGINE, lock_digests)
    after = plan_lanes(experiment, lanes, ENGINE, {**lock_digests, "evaluator": "newer"})
    lost = {before.runs[key].type.name for key in set(before.runs) - set(after.runs)}
    assert lost == {"evaluate", "compare_logits", "measure_speed"}


def test_another_seed_changes_what_is_random_and_no_download(
    lanes_folder: Path, tmp_path: Path, lock_digests: Mapping[str, str]
) -> None:
    text = (lanes_folder / "experiment.yaml").read_text(encoding="utf-8")
    assert "seed: 42" in text
    (tmp_path / "experiment.yaml").write_text(text.replace("seed: 42", "seed: 7"), encoding="utf-8")
    (tmp_path / "benchmarks").symlink_to(lanes_folder / "benchmarks")
    for path in lanes_folder.glob("lane*.yaml"):
        (tmp_path / path.name).symlink_to(path)
    before = plan_lanes(*load(lanes_folder, "experiment.yaml"), ENGINE, lock_digests)
    after = plan_lanes(*load(tmp_path, "experiment.yaml"), ENGINE, lock_digests)
    kept = {before.runs[key].type.name for key in set(before.runs) & set(after.runs)}
    assert "fetch_model" in kept and "prepare_benchmarks" in kept
    assert not kept & {"sft", "gptq", "distill", "prepare_corpus"}


@pytest.mark.parametrize(
    ("asked", "cuda", "expected"),
    [(None, True, "vllm"), (None, False, "transformers"), ("vllm", False, "vllm")],
)
def test_engine_is_chosen_by_cuda_unless_asked_for(
    lanes_folder: Path, asked: str | None, cuda: bool, expected: str
) -> None:
    experiment, _ = load(lanes_folder, "experiment.yaml")
    assert plan_engine(experiment, lambda: cuda, asked).engine == expected


def test_artifact_names_are_readable(plan: Plan) -> None:
    labels = {run.name.rpartition("-")[0] for run in plan.runs.values()}
    assert {"sft", "prune28", "prune26", "gptq_w4a16", "gptq_w8a16", "fp8", "fp8_dynamic"} <= labels
    params = STAGE_TYPES["awq"].params.model_validate({"scheme": "W4A16"})
    assert STAGE_TYPES["awq"].label(params) == "awq_w4a16"
    buckets = {run.type.name: run.path.split("/")[0] for run in plan.runs.values()}
    assert buckets == {name: STAGE_TYPES[name].bucket for name in buckets}
