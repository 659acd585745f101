"""Replicates in the plan: the first is the lane as it was, the others are drawn anew and timed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from twelve import load_twelve

from lanekit.plan.graph import LanePlan, Plan, StageRun
from lanekit.plan.planner import plan_lanes
from lanekit.plan.run_document import describe_run, parse_run
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.lane_file import Lane, match_names, replicate_lanes
from lanekit.spec.params import PrepareCorpusParams, TrainingParams

ENGINE = EngineParams(engine="transformers")


@pytest.fixture
def loaded(lanes_folder: Path) -> tuple[Experiment, list[Lane]]:
    experiment, lanes = load_twelve(lanes_folder / "experiment.yaml")
    data = {n: s.model_copy(update={"digest": f"digest of {n}"}) for n, s in experiment.data.items()}
    base = experiment.base_model.model_copy(update={"digest": "digest of the base"})
    return experiment.model_copy(update={"data": data, "base_model": base}), lanes


def make_plan(
    loaded: tuple[Experiment, list[Lane]], locks: Mapping[str, str], only: list[str], count: int
) -> Plan:
    experiment, lanes = loaded
    chosen = match_names([lane.name for lane in lanes], only)
    return plan_lanes(
        experiment, replicate_lanes([x for x in lanes if x.name in chosen], count), ENGINE, locks
    )


def list_stages(plan: Plan, lane: str) -> list[StageRun]:
    return [plan.runs[key] for key in plan.lanes[lane].stage_keys]


def read_corpus_seed(plan: Plan, run: StageRun) -> int:
    params = plan.runs[run.inputs["corpus"]].params
    assert isinstance(params, PrepareCorpusParams)
    return params.seed


def test_the_first_replicates_and_all_they_need_keep_their_keys(
    loaded: tuple[Experiment, list[Lane]], lock_digests: Mapping[str, str]
) -> None:
    only = [lane.name for lane in loaded[1] if lane.name != "lane04_fp8_dynamic"]
    once = make_plan(loaded, lock_digests, only, 1)
    thrice = make_plan(loaded, lock_digests, only, 3)
    assert list(thrice.runs)[: len(once.runs)] == list(once.runs)
    assert {name: thrice.lanes[name] for name in once.lanes} == once.lanes
    others = set(thrice.lanes) - set(once.lanes)
    assert others == {f"{name}-r{number}" for name in only for number in (2, 3)}
    added = Counter(thrice.runs[key].type.name for key in list(thrice.runs)[len(once.runs) :])
    # By hand, for each of two draws: seven GPTQ as of the first, one static FP8, all but the timing.
    assert added == {
        "prepare_corpus": 2, "sft": 2, "prune": 4, "distill": 4, "post_sft": 4, "gptq": 14, "fp8": 2,
        "evaluate": 22, "compare_logits": 22,
    }  # fmt: skip


def test_a_calibrating_lane_has_another_calibration_set(
    loaded: tuple[Experiment, list[Lane]], lock_digests: Mapping[str, str]
) -> None:
    plan = make_plan(loaded, lock_digests, ["lane01"], 3)
    runs = [list_stages(plan, name)[0] for name in list(plan.lanes)[1:]]
    assert [read_corpus_seed(plan, run) for run in runs] == [42, 43, 44]
    assert len({run.params.model_dump_json() for run in runs}) == 1
    corpora = [plan.runs[run.inputs["corpus"]] for run in runs]
    assert len({corpus.params.model_dump_json(exclude={"seed"}) for corpus in corpora}) == 1
    assert len({run.key for run in runs}) == 3


def test_a_training_lane_has_another_seed_over_the_same_text(
    loaded: tuple[Experiment, list[Lane]], lock_digests: Mapping[str, str]
) -> None:
    plan = make_plan(loaded, lock_digests, ["lane06"], 2)
    first, other = (list_stages(plan, f"lane06_sft_gptq_w4a16{end}") for end in ("", "-r2"))
    assert isinstance(first[0].params, TrainingParams) and isinstance(other[0].params, TrainingParams)
    assert (first[0].params.seed, other[0].params.seed) == (42, 43)
    assert read_corpus_seed(plan, first[0]) == read_corpus_seed(plan, other[0]) == 42
    assert (read_corpus_seed(plan, first[1]), read_corpus_seed(plan, other[1])) == (42, 43)
    assert other[1].inputs["model"] == other[0].key


def test_lanes_share_the_stages_of_a_draw_and_each_lane_its_timing(
    loaded: tuple[Experiment, list[Lane]], lock_digests: Mapping[str, str]
) -> None:
    plan = make_plan(loaded, lock_digests, ["lane01", "lane08"], 2)
    w4, after = plan.lanes["lane01_gptq_w4a16-r2"], plan.lanes["lane08_w4a16_postsft-r2"]
    assert after.stage_keys[0] == w4.model_key != plan.lanes["lane01_gptq_w4a16"].model_key
    assert w4.speed_key == plan.lanes["lane01_gptq_w4a16"].speed_key != after.speed_key
    corpora = {plan.runs[lane.screen_key or ""].inputs["corpus"] for lane in plan.lanes.values()}
    assert len(corpora) == 1, "every draw is held against the same text"
    assert w4.evaluate_key != plan.lanes["lane01_gptq_w4a16"].evaluate_key
    assert w4.title.endswith(", replicate 2") and w4.group == plan.lanes["lane01_gptq_w4a16"].group
    timed = [run for run in plan.runs.values() if run.type.name == "measure_speed"]
    assert len(timed) == 3, "the baseline and the two lanes, once each"


def test_a_lane_files_number_is_its_own(
    loaded: tuple[Experiment, list[Lane]], lock_digests: Mapping[str, str]
) -> None:
    experiment, lanes = loaded
    chosen = [*replicate_lanes(lanes[:1], 2), *lanes[1:2]]
    names = list(plan_lanes(experiment, chosen, ENGINE, lock_digests).lanes)
    assert names == ["baseline", lanes[0].name, lanes[1].name, f"{lanes[0].name}-r2"]


def test_a_run_with_replicates_travels(
    loaded: tuple[Experiment, list[Lane]], lock_digests: Mapping[str, str]
) -> None:
    plan = make_plan(loaded, lock_digests, ["lane12"], 2)
    spec = describe_run(loaded[0], plan, ENGINE, lock_digests, "")
    once = describe_run(loaded[0], make_plan(loaded, lock_digests, ["lane12"], 1), ENGINE, lock_digests, "")
    assert spec.run_id != once.run_id
    again = parse_run(spec.model_dump_json().encode(), "run.json").make_plan()
    assert again.lanes == plan.lanes and list(again.runs) == list(plan.runs)
    assert isinstance(again.lanes["lane12_fp8_static-r2"], LanePlan)
