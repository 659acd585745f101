"""Records of another experiment, another lane file or other numbers than the store's are not ranked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from lanekit.errors import InputError
from lanekit.plan.graph import BASELINE, ArtifactRef, Plan, StageRun
from lanekit.plan.planner import plan_lanes
from lanekit.plan.run_document import RankingSettings
from lanekit.plan.state import RunState
from lanekit.results.collect import collect_record
from lanekit.results.course import Outcome, direct_ranking
from lanekit.results.identity import check_experiment, describe_stage, refuse_foreign
from lanekit.results.provenance import refuse_altered
from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import LaneRecord, RecordIdentity
from lanekit.results.speed import SpeedResult
from lanekit.sources.locks import SERVICES
from lanekit.spec.evaluation import EngineParams, EvaluateParams
from lanekit.spec.experiment_file import Experiment, RankingRules, load_experiment_lanes
from lanekit.spec.lane_file import Lane, replicate_lanes
from lanekit.spec.params import FetchModelParams, RankParams, SftParams, Source
from lanekit.spec.stages import STAGE_TYPES
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import make_manifest

ROOT = Path(__file__).parents[3]
LOCKS = dict.fromkeys(SERVICES, "lock")
ENGINE = EngineParams(engine="transformers", max_model_len=64, batch_size=1)
SPEED = {
    "s_per_token": 0.05, "s_per_token_all": [0.05], "baseline_s_per_token": 0.1,
    "baseline_s_per_token_all": [0.1], "batch_size": 1, "prompt_tokens": 8, "decode_tokens": 8,
    "engine": "transformers", "device": "cpu: x", "device_kind": "cpu",
}  # fmt: skip
CONTENTS: dict[str, dict[str, Any]] = {
    "evaluate": {
        "benchmarks": {"kmmlu_pro": {"metric": "accuracy", "version": 1, "value": 0.5, "n_items": 2}},
        "size_bytes": 9,
    },
    "measure_speed": SPEED,
}
Collect = Callable[..., dict[str, LaneRecord]]


def load(base: str = "a", rows: str = "r") -> tuple[Experiment, list[Lane]]:
    """Return the repository's experiment and two lanes, as if its sources were resolved."""
    experiment, lanes = load_experiment_lanes(ROOT / "lanes" / "experiment.yaml")
    data = {n: s.model_copy(update={"digest": rows * 40}) for n, s in experiment.data.items()}
    model = experiment.base_model.model_copy(update={"digest": base * 40})
    return experiment.model_copy(update={"data": data, "base_model": model}), lanes[:2]


def commit(store: FolderStore, plan: Plan, run: StageRun) -> None:
    """Commit a stage's artifact: a model says whose it is by its inputs, a suite by its parameters."""
    if store.find_artifact(run):
        return
    folder = store.make_scratch(run.name)
    text = json.dumps({"params": run.params.model_dump(mode="json"), "inputs": dict(run.inputs)})
    (folder / "model.safetensors").write_text(text, encoding="utf-8")
    if run.type.name in CONTENTS:
        (folder / "metrics.json").write_text(json.dumps(CONTENTS[run.type.name]), encoding="utf-8")
    now = datetime.now(timezone.utc)
    store.publish_artifact(run, folder, make_manifest(run, folder, started_at=now, seconds=1.0))


@pytest.fixture
def collect(tmp_path: Path) -> Collect:
    """Return the records of an experiment's run, by lane."""

    def run(experiment: Experiment, lanes: list[Lane]) -> dict[str, LaneRecord]:
        store = FolderStore(tmp_path / "store")
        plan = plan_lanes(experiment, lanes, ENGINE, LOCKS)
        state = RunState(plan)
        for key, stage in plan.runs.items():
            commit(store, plan, stage)
            state.mark(key, "done")
        return {lane: collect_record(plan, state, store, lane) for lane in plan.lanes}

    return run


def get_evaluation(experiment: Experiment) -> EvaluateParams:
    plan = plan_lanes(experiment, [], ENGINE, LOCKS)
    params = plan.runs[plan.lanes[BASELINE].evaluate_key or ""].params
    assert isinstance(params, EvaluateParams)
    return params


def test_every_record_says_which_experiment_it_is_of(collect: Collect) -> None:
    records = collect(*load())
    identities = [record.identity for record in records.values()]
    assert len(records) == 3 and all(identities)
    base, *lanes = (identity for identity in identities if identity)
    assert base.base_source == "a" * 40 and base.lane == ""
    assert len({lane.lane for lane in lanes}) == 2
    for name in ("base_model", "base_source", "suite", "settings"):
        assert len({getattr(identity, name) for identity in identities}) == 1
    assert all(record.timing.startswith("results/speed-") for record in records.values())
    assert [r.status for r in refuse_foreign(list(records.values()))] == ["ok"] * 3


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"base": "b"}, "another base model"), ({"rows": "s"}, "other rows of the benchmarks")],
)
def test_a_record_of_another_experiment_is_foreign(
    collect: Collect, changed: dict[str, str], reason: str
) -> None:
    old, new = collect(*load()), collect(*load(**changed))
    left = next(name for name in old if name != BASELINE)
    mixed = [new[BASELINE], old[left], *(r for n, r in new.items() if n not in (BASELINE, left))]
    checked = {record.lane: record for record in refuse_foreign(mixed)}
    assert checked[left].status == "foreign" and reason in checked[left].reason
    assert "remedy: evaluate it again" in checked[left].reason
    assert {record.status for name, record in checked.items() if name != left} == {"ok"}


def test_a_record_asked_with_other_settings_is_foreign(collect: Collect) -> None:
    experiment, lanes = load()
    few = experiment.model_copy(
        update={"evaluation": experiment.evaluation.model_copy(update={"limit_items": 3})}
    )
    old, new = collect(experiment, lanes), collect(few, lanes)
    lane = lanes[0].name
    assert "other settings of the benchmarks" in refuse_foreign([new[BASELINE], old[lane]])[1].reason


def test_a_record_without_an_identity_beside_one_with_it_is_foreign(collect: Collect) -> None:
    records = list(collect(*load()).values())
    records[1] = records[1].model_copy(update={"identity": None})
    refused = refuse_foreign(records)[1]
    assert refused.status == "foreign" and "does not say which experiment" in refused.reason
    assert "run scripts/run_all.py again" in refused.reason


def test_a_foreign_record_gives_no_items_to_the_ranking_and_reaches_it_with_its_reason(
    collect: Collect, tmp_path: Path
) -> None:
    experiment, lanes = load()
    old, new = collect(experiment, lanes), collect(*load(base="b"))
    settings = RankingSettings(
        experiment="e", base_model_name="b", base_model_source="b",
        scoring=experiment.scoring, packaging=experiment.packaging,
        rules=RankingRules(margin=0.02), published_percent={"kmmlu_pro": 37.5},
    )  # fmt: skip
    records = [new[BASELINE], old[lanes[0].name], new[lanes[1].name]]
    director = direct_ranking(records, settings, ENGINE, LOCKS, FolderStore(tmp_path / "store"))
    plan = next(director)
    rank = next(run for run in plan.runs.values() if run.type.name == "rank")
    assert [r["status"] for r in rank.params.model_dump()["records"]] == ["ok", "foreign", "ok"]
    assert isinstance(rank.params, RankParams)
    assert (rank.params.margin, rank.params.published_percent) == (0.02, {"kmmlu_pro": 37.5})
    assert set(rank.inputs) == {f"items.{BASELINE}", f"items.{lanes[1].name}"}


def test_the_experiment_file_decides_whose_baseline_it_is(collect: Collect) -> None:
    experiment, lanes = load()
    records = list(collect(experiment, lanes).values())
    evaluation = get_evaluation(experiment)
    assert check_experiment(records, "a" * 40, evaluation, lanes, "x.yaml") == records
    with pytest.raises(InputError, match=r"another base model than x\.yaml names") as caught:
        check_experiment(records, "b" * 40, evaluation, lanes, "x.yaml")
    assert "--experiment" in caught.value.remedy
    other = evaluation.model_copy(update={"limit_items": 3})
    with pytest.raises(InputError, match=r"another suite than x\.yaml names"):
        check_experiment(records, "a" * 40, other, lanes, "x.yaml")
    records[0] = records[0].model_copy(update={"identity": None})
    with pytest.raises(InputError, match="does not say which experiment it is of") as caught:
        check_experiment(records, "a" * 40, evaluation, lanes, "x.yaml")
    assert "what is committed is kept" in caught.value.remedy


def test_a_record_of_an_older_lane_file_is_foreign_and_one_without_a_lane_file_is_not(
    collect: Collect,
) -> None:
    experiment, lanes = load()
    records = list(collect(experiment, lanes).values())
    evaluation = get_evaluation(experiment)
    stage = lanes[0].stages[0]
    changed = stage.params.model_copy(update={"dampening": 0.5})
    edited = replace(lanes[0], stages=(replace(stage, params=changed), *lanes[0].stages[1:]))
    checked = check_experiment(records, "a" * 40, evaluation, [edited], "x.yaml")
    assert [record.status for record in checked] == ["ok", "foreign", "ok"]
    assert "its lane file says other stages or parameters now" in checked[1].reason


def give_other_value(record: LaneRecord) -> None:
    record.benchmarks["kmmlu_pro"].value = 0.9


def lose_values(record: LaneRecord) -> None:
    record.benchmarks.clear()


def speed_up(record: LaneRecord) -> None:
    record.speed = SpeedResult.model_validate(SPEED | {"s_per_token": 0.01, "s_per_token_all": [0.01]})


def name_other_model(record: LaneRecord) -> None:
    record.model = "models/other-0123456789ab"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (give_other_value, "its kmmlu_pro is not what results/evaluate-"),
        (lose_values, "its kmmlu_pro is not what results/evaluate-"),
        (speed_up, "its speed is not what results/speed-"),
        (name_other_model, "is of another model than models/other-0123456789ab"),
    ],
)
def test_a_record_that_is_not_what_the_store_holds_is_refused(
    collect: Collect, tmp_path: Path, change: Callable[[LaneRecord], None], reason: str
) -> None:
    records = list(collect(*load()).values())
    store = FolderStore(tmp_path / "store")
    assert refuse_altered(records, store) == records
    altered = records[1].model_copy(deep=True)
    change(altered)
    refused = refuse_altered([altered], store)[0]
    assert refused.status == "refused" and reason in refused.reason
    assert "remedy: evaluate the lane again" in refused.reason


def test_a_record_whose_artifacts_are_gone_cannot_be_compared(collect: Collect, tmp_path: Path) -> None:
    records = list(collect(*load()).values())
    records[1].benchmarks["kmmlu_pro"].value = 0.9
    assert refuse_altered(records, FolderStore(tmp_path / "empty")) == records


def test_an_identity_travels_with_its_record() -> None:
    identity = RecordIdentity(base_model="b", base_source="s", suite="q", settings="t", lane="")
    record = LaneRecord(lane="x", identity=identity)
    assert LaneRecord.model_validate_json(record.model_dump_json()) == record


def collect_replicates(collect: Collect, experiment: Experiment, lanes: list[Lane]) -> list[LaneRecord]:
    return list(collect(experiment, replicate_lanes(lanes, 2)).values())


def train(lanes: list[Lane]) -> list[Lane]:
    """Return the first lane with an SFT before its quantization: its replicates have other parameters."""
    params = SftParams(steps=1, learning_rate=0.1, batch_size=1, max_length=8)
    stage = replace(lanes[0].stages[0], type=STAGE_TYPES["sft"], params=params)
    return [replace(lanes[0], stages=(stage, *lanes[0].stages))]


def test_replicates_are_records_of_their_own_timed_with_the_first(collect: Collect, tmp_path: Path) -> None:
    experiment, lanes = load()
    records = {r.lane: r for r in collect_replicates(collect, experiment, lanes[:1])}
    name = lanes[0].name
    assert list(records) == [BASELINE, name, f"{name}-r2"]
    first, other = records[name], records[f"{name}-r2"]
    assert first.model != other.model and first.evaluation != other.evaluation
    assert first.timing == other.timing and first.speed == other.speed
    assert refuse_altered(list(records.values()), FolderStore(tmp_path / "store")) == list(records.values())
    assert [r.status for r in refuse_foreign(list(records.values()))] == ["ok"] * 3


def test_a_replicate_timed_as_another_lane_is_refused(collect: Collect, tmp_path: Path) -> None:
    experiment, lanes = load()
    records = {r.lane: r for r in collect_replicates(collect, experiment, lanes)}
    name = lanes[0].name
    altered = records[f"{name}-r2"].model_copy(update={"timing": records[lanes[1].name].timing})
    kept = [record for record in records.values() if record.lane != altered.lane]
    refused = refuse_altered([*kept, altered], FolderStore(tmp_path / "store"))
    assert {record.lane: record.status for record in refused if record.status != "ok"} == {
        altered.lane: "refused"
    }
    assert f"is of another model than {records[name].model}" in refused[-1].reason


def test_a_replicate_is_of_the_lane_file_as_it_varies_it(collect: Collect) -> None:
    experiment, _ = load()
    lanes = train(load()[1])
    records = collect_replicates(collect, experiment, lanes)
    identities = [record.identity for record in records[1:]]
    assert identities[0] and identities[1] and identities[0].lane != identities[1].lane
    evaluation = get_evaluation(experiment)
    assert check_experiment(records, "a" * 40, evaluation, lanes, "x.yaml") == records
    stages = (replace(lanes[0].stages[0], params=lanes[0].stages[0].params.model_copy(update={"seed": 7})),)
    edited = replace(lanes[0], stages=(*stages, *lanes[0].stages[1:]))
    checked = check_experiment(records, "a" * 40, evaluation, [edited], "x.yaml")
    assert [record.status for record in checked] == ["ok", "foreign", "foreign"]


def test_a_failed_replicate_is_not_all_that_was_asked() -> None:
    summary = ArtifactRef(key="0" * 64, path="results/summary-0")
    lane = RankedLane(rank=1, record=LaneRecord(lane="a"), score=0.5)
    ranking = Ranking(experiment="", lanes=[lane], weights_used={}, notes=[])
    outcome = Outcome(ranking, summary, packages={"a": summary})
    assert outcome.is_complete
    ranking.replicates.append(RankedLane(rank=None, record=LaneRecord(lane="a-r2", status="failed")))
    assert not outcome.is_complete


def test_a_record_tells_its_stages_with_all_parameters_and_no_local_path(
    collect: Collect, tmp_path: Path
) -> None:
    experiment, lanes = load()
    record = collect(experiment, lanes)[lanes[0].name]
    assert [stage.name for stage in record.recipe] == [stage.type.name for stage in lanes[0].stages]
    assert len(record.recipe) == len(record.stages)
    assert record.recipe[0].parameters["dampening"] == lanes[0].stages[0].params.dampening  # type: ignore[attr-defined]
    assert collect(experiment, lanes)[BASELINE].recipe == []
    model = Source(source=str(tmp_path), digest="d" * 40)
    described = describe_stage("fetch_model", FetchModelParams(name="base", model=model))
    assert str(tmp_path) not in json.dumps(described.parameters) and "d" * 40 in json.dumps(
        described.parameters
    )
    assert LaneRecord.model_validate({"lane": "old"}).recipe == []
