"""What a stage calibrates on: the corpus, a mix of sources, another draw; and the keys that stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from lanekit.errors import InputError
from lanekit.plan.graph import Plan, StageRun
from lanekit.plan.planner import plan_lanes
from lanekit.sources.resolve import resolve_sources
from lanekit.spec.calibration import interleave
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment, load_experiment_lanes
from lanekit.spec.lane_file import load_lane, replicate_lanes
from lanekit.spec.params import PrepareCorpusParams, SmoothParams, Source
from lanekit.spec.quantization import Fp8Params, GptqParams

ENGINE = EngineParams(engine="transformers")
MIX = "calibration: {mix: [{source: manta, rows: 48}, {source: general, rows: 16}], draw: 2}"


@pytest.fixture
def experiment(lanes_folder: Path) -> Experiment:
    loaded = load_experiment_lanes(lanes_folder / "experiment.demo.yaml")[0]
    data = {n: s.model_copy(update={"digest": f"digest of {n}"}) for n, s in loaded.data.items()}
    base = loaded.base_model.model_copy(update={"digest": "digest of the base"})
    return loaded.model_copy(update={"data": data, "base_model": base})


def plan_stage(
    experiment: Experiment, locks: Mapping[str, str], folder: Path, stage: str, count: int = 1
) -> tuple[Plan, list[StageRun]]:
    path = folder / "lane20_x.yaml"
    path.write_text(f"title: a\ngroup: b\nstages:\n  - {stage}\n", encoding="utf-8")
    lane = load_lane(path, {"fp8": {"calibration_rows": 32}})
    plan = plan_lanes(experiment, replicate_lanes([lane], count), ENGINE, locks)
    return plan, [plan.runs[x.stage_keys[0]] for name, x in plan.lanes.items() if name != "baseline"]


def read_corpus(plan: Plan, key: str) -> PrepareCorpusParams:
    params = plan.runs[key].params
    assert isinstance(params, PrepareCorpusParams)
    return params


def test_a_mix_is_prepared_from_both_sources_at_its_draw(
    experiment: Experiment, lock_digests: Mapping[str, str], tmp_path: Path
) -> None:
    plan, (run,) = plan_stage(experiment, lock_digests, tmp_path, f"fp8: {{scheme: FP8, {MIX}}}")
    assert isinstance(run.params, Fp8Params)
    assert run.params.calibration_rows == 64, "as many as the mix has, whatever all stages have"
    mixed = plan.runs[run.inputs["corpus"]]
    assert mixed.type.name == "mix_calibration"
    assert mixed.params.model_dump() == {"rows": {"manta": 48, "general": 16}}
    manta, general = (read_corpus(plan, mixed.inputs[name]) for name in ("manta", "general"))
    assert (manta.name, manta.seed, manta.train_rows) == ("manta", 43, experiment.corpus.train_rows)
    assert (general.name, general.seed) == ("general", 43)
    assert (general.train_rows, general.validation_rows) == (4 * experiment.corpus.calibration_rows, 1)
    assert general.contamination == experiment.corpus.contamination
    assert plan.runs[mixed.inputs["general"]].inputs == plan.runs[mixed.inputs["manta"]].inputs, (
        "guarded alike"
    )


def test_a_draw_is_that_of_the_replicate_of_its_number(
    experiment: Experiment, lock_digests: Mapping[str, str], tmp_path: Path
) -> None:
    _, replicates = plan_stage(experiment, lock_digests, tmp_path, "fp8: {scheme: FP8}", 3)
    drawn = "fp8: {scheme: FP8, calibration: {draw: 2}}"
    plan, (second, third) = plan_stage(experiment, lock_digests, tmp_path, drawn, 2)
    assert second.inputs["corpus"] == replicates[1].inputs["corpus"]
    assert third.inputs["corpus"] == replicates[2].inputs["corpus"]
    assert read_corpus(plan, second.inputs["corpus"]).seed == 43


def test_every_prefix_of_a_mix_is_in_proportion() -> None:
    order = [name for name, _ in interleave({"a": 30, "b": 10})]
    for length in range(1, 41):
        assert abs(Counter(order[:length])["a"] - 0.75 * length) <= 1
    assert [place for name, place in interleave({"a": 3, "b": 2}) if name == "a"] == [0, 1, 2]


def test_fewer_rows_than_the_mix_has_are_its_first(
    experiment: Experiment, lock_digests: Mapping[str, str], tmp_path: Path
) -> None:
    stage = f"fp8: {{scheme: FP8, calibration_rows: 8, {MIX}}}"
    plan, (run,) = plan_stage(experiment, lock_digests, tmp_path, stage)
    assert plan.runs[run.inputs["corpus"]].params.model_dump() == {"rows": {"manta": 6, "general": 2}}
    assert Fp8Params.model_validate(run.params.model_dump()) == run.params, "a stored run is read as it was"
    assert isinstance(run.params, Fp8Params) and run.params.calibration_rows == 8
    with pytest.raises(InputError, match=r"4:.*calibration_rows is 65, and the mix has 64"):
        plan_stage(experiment, lock_digests, tmp_path, stage.replace("rows: 8", "rows: 65"))


def test_without_a_choice_nothing_is_written_of_one() -> None:
    for params in (GptqParams(scheme="W8A8"), SmoothParams()):
        assert "calibration" not in params.model_dump()
        assert '"calibration":' not in params.model_dump_json()
    chosen = GptqParams.model_validate({"scheme": "W8A8", "calibration": {"draw": 2}})
    assert chosen.model_dump(mode="json")["calibration"] == {"mix": [], "draw": 2}
    assert GptqParams.model_validate(chosen.model_dump()) == chosen
    corpus = {"corpus": {"source": "x"}, "train_rows": 1, "validation_rows": 1, "calibration_rows": 1}
    assert "name" not in PrepareCorpusParams.model_validate(corpus).model_dump()
    assert PrepareCorpusParams.model_validate({"name": "general", **corpus}).model_dump()["name"] == "general"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("{mix: [{source: genral, rows: 4}]}", r"unknown value 'genral' \(did you mean 'general'\?\)"),
        ("{mix: [{source: manta, rows: 4}, {source: manta, rows: 4}]}", "mix names a source twice"),
        ("{mix: [{source: manta, rows: 0}]}", "rows"),
        ("{mix: [{source: manta}]}", "'calibration.mix.0.rows' is missing"),
        ("{mix: 3}", "calibration.mix"),
        ("{draw: 0}", "calibration.draw"),
    ],
)
def test_a_slip_is_told_at_its_place(tmp_path: Path, choice: str, message: str) -> None:
    path = tmp_path / "lane20_x.yaml"
    path.write_text(
        f"title: a\ngroup: b\nstages:\n  - fp8: {{scheme: FP8, calibration: {choice}}}\n", encoding="utf-8"
    )
    with pytest.raises(InputError, match=message):
        load_lane(path, {})


def test_a_source_that_no_mix_takes_is_not_asked_for(
    experiment: Experiment, lock_digests: Mapping[str, str], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n", encoding="utf-8")
    data = {name: Source(source=str(rows)) for name in experiment.data}
    data["general"] = Source(source=str(tmp_path / "nowhere.jsonl"))
    asked = experiment.model_copy(update={"data": data})
    found = resolve_sources(asked, ("data",))
    assert found.data["manta"].digest and not found.data["general"].digest
    path = tmp_path / "lane20_x.yaml"
    stage = f"fp8: {{scheme: FP8, {MIX}}}"
    path.write_text(f"title: a\ngroup: b\nstages:\n  - {stage}\n", encoding="utf-8")
    with pytest.raises(InputError, match="nowhere"):
        resolve_sources(asked, ("data",), lanes=[load_lane(path, {})])
