"""A lane that needs engine arguments: in its record, in its ranking, and no plain package for it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from lanekit.plan.graph import BASELINE, Plan, StageRun
from lanekit.plan.planner import plan_lanes
from lanekit.plan.run_document import RankingSettings
from lanekit.plan.state import RunState
from lanekit.results.collect import collect_record
from lanekit.results.course import Director, Outcome, direct_ranking
from lanekit.results.identity import check_experiment
from lanekit.results.provenance import refuse_altered
from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import LaneRecord
from lanekit.sources.locks import SERVICES
from lanekit.spec.evaluation import EngineParams, EvaluateParams, VerifyPackageParams
from lanekit.spec.experiment_file import Experiment, load_experiment_lanes
from lanekit.spec.lane_engine import PLAIN, LaneEngine
from lanekit.spec.lane_file import Lane
from lanekit.spec.params import PackageParams, RankParams
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import make_manifest

ROOT = Path(__file__).parents[3]
LOCKS = dict.fromkeys(SERVICES, "lock")
ENGINE = EngineParams(engine="vllm", max_model_len=64, batch_size=1)
CACHE = LaneEngine(kv_cache_dtype="fp8")
METRICS: dict[str, dict[str, Any]] = {
    "evaluate": {"benchmarks": {}, "size_bytes": 9},
    "measure_speed": {
        "s_per_token": 0.05, "s_per_token_all": [0.05], "baseline_s_per_token": 0.1,
        "baseline_s_per_token_all": [0.1], "batch_size": 1, "prompt_tokens": 8, "decode_tokens": 8,
        "engine": "vllm", "device": "NVIDIA L4", "device_kind": "cuda",
    },
}  # fmt: skip


class Bench:
    """A store with a run of three lanes, of which the first needs an FP8 KV cache."""

    def __init__(self, folder: Path) -> None:
        experiment, lanes = load_experiment_lanes(ROOT / "lanes" / "experiment.yaml")
        data = {n: s.model_copy(update={"digest": "r" * 40}) for n, s in experiment.data.items()}
        base = experiment.base_model.model_copy(update={"digest": "a" * 40})
        self.experiment: Experiment = experiment.model_copy(update={"data": data, "base_model": base})
        self.lanes: list[Lane] = [replace(lanes[0], engine=CACHE), *lanes[1:3]]
        self.names = [lane.name for lane in self.lanes]
        self.store = FolderStore(folder)
        plan = plan_lanes(self.experiment, self.lanes, ENGINE, LOCKS)
        state = self.commit_all(plan)
        self.records = [collect_record(plan, state, self.store, lane) for lane in plan.lanes]
        evaluation = plan.runs[plan.lanes[BASELINE].evaluate_key or ""].params
        assert isinstance(evaluation, EvaluateParams)
        self.evaluation = evaluation

    def commit_all(self, plan: Plan) -> RunState:
        state = RunState(plan)
        for key, run in plan.runs.items():
            self.commit(run)
            state.mark(key, "done")
        return state

    def commit(self, run: StageRun) -> None:
        if self.store.find_artifact(run):
            return
        folder = self.store.make_scratch(run.name)
        (folder / "model.safetensors").write_text(run.key, encoding="utf-8")
        if run.type.name in METRICS:
            (folder / "metrics.json").write_text(json.dumps(METRICS[run.type.name]), encoding="utf-8")
        if isinstance(run.params, RankParams):
            text = self.rank(run.params).model_dump_json()
            (folder / "ranking.json").write_text(text, encoding="utf-8")
        manifest = make_manifest(run, folder, started_at=datetime.now(timezone.utc), seconds=1.0)
        self.store.publish_artifact(run, folder, manifest)

    def rank(self, params: RankParams) -> Ranking:
        """Rank in the order of the records, the baseline without a rank."""
        records = [LaneRecord.model_validate(record) for record in params.records]
        lanes = [RankedLane(rank=n or None, record=record, score=1.0) for n, record in enumerate(records)]
        return Ranking(experiment="e", lanes=lanes, weights_used={}, notes=[])

    def package(self, *, plain: bool, top_k: int = 2) -> tuple[Outcome, list[Plan]]:
        """Rank and package; return the outcome and the plans of the packages."""
        packaging = self.experiment.packaging.model_copy(update={"plain": plain, "top_k": top_k})
        settings = RankingSettings(
            experiment="e", base_model_name="EXAONE", base_model_source="b",
            scoring=self.experiment.scoring, packaging=packaging,
        )  # fmt: skip
        director: Director = direct_ranking(self.records, settings, ENGINE, LOCKS, self.store)
        plans = [next(director)]
        while True:
            try:
                plans.append(director.send(self.commit_all(plans[-1])))
            except StopIteration as end:
                return end.value, plans[1:]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "store")


def test_a_record_names_the_arguments_of_its_lane(bench: Bench) -> None:
    assert [record.engine for record in bench.records] == [PLAIN, CACHE, PLAIN, PLAIN]
    again = LaneRecord.model_validate_json(bench.records[1].model_dump_json())
    assert again == bench.records[1]
    assert LaneRecord.model_validate({"lane": "of an earlier version"}).engine == PLAIN


def test_a_lane_with_arguments_is_no_plain_package_and_the_next_has_its_place(bench: Bench) -> None:
    outcome, plans = bench.package(plain=True)
    assert list(outcome.packages) == bench.names[1:]
    assert list(outcome.passed_over) == [bench.names[0]] and outcome.refused == {}
    reason = outcome.passed_over[bench.names[0]]
    assert "needs engine arguments: kv_cache_dtype=fp8" in reason and "packaging.plain" in reason
    assert outcome.is_complete  # that is nobody's failure
    assert [list(plan.lanes) for plan in plans] == [bench.names[1:]]


def test_a_lane_that_has_no_place_is_not_spoken_of(bench: Bench) -> None:
    bench.records = [bench.records[0], *bench.records[2:], bench.records[1]]
    outcome, _ = bench.package(plain=True)
    assert list(outcome.packages) == bench.names[1:] and outcome.passed_over == {}


def test_where_all_need_arguments_there_is_no_package(bench: Bench) -> None:
    bench.records = bench.records[:2]
    outcome, plans = bench.package(plain=True)
    assert outcome.packages == {} and plans == [] and list(outcome.passed_over) == bench.names[:1]


def test_a_contest_that_takes_arguments_gets_them_told_and_asked_with(bench: Bench) -> None:
    outcome, (plan,) = bench.package(plain=False)
    assert list(outcome.packages) == bench.names[:2] and outcome.passed_over == {}
    needs, engines = {}, {}
    for name, lane in plan.lanes.items():
        package, verify = (plan.runs[key].params for key in (lane.stage_keys[0], lane.model_key))
        assert isinstance(package, PackageParams) and isinstance(verify, VerifyPackageParams)
        needs[name], engines[name] = package.engine_arguments, verify.engine
    assert needs == {bench.names[0]: {"kv_cache_dtype": "fp8"}, bench.names[1]: {}}
    assert engines == {bench.names[0]: CACHE.apply(ENGINE), bench.names[1]: ENGINE}


def test_a_record_with_other_arguments_than_its_timing_is_refused(bench: Bench) -> None:
    assert refuse_altered(bench.records, bench.store) == bench.records
    hidden = bench.records[1].model_copy(update={"engine": PLAIN})
    (refused,) = refuse_altered([hidden], bench.store)
    assert refused.status == "refused"
    assert f"its engine arguments are not those of {hidden.timing}" in refused.reason


def test_a_lane_file_with_other_arguments_makes_its_record_foreign(bench: Bench) -> None:
    source = "a" * 40
    assert check_experiment(bench.records, source, bench.evaluation, bench.lanes, "x") == bench.records
    edited = [replace(bench.lanes[0], engine=PLAIN), replace(bench.lanes[1], engine=CACHE), bench.lanes[2]]
    checked = check_experiment(bench.records, source, bench.evaluation, edited, "x")
    assert [record.status for record in checked] == ["ok", "foreign", "foreign", "ok"]
