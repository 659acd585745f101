"""A bundle's sources on another machine: found by name, held to their digests, all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanekit.commands.reproduction.bundle import BASE_MODEL, Bundle, Environment, SourceRecord
from lanekit.commands.reproduction.sources import place_sources
from lanekit.errors import InputError
from lanekit.files.hashing import hash_source
from lanekit.spec.experiment_file import Experiment, load_experiment

COMMIT = "c" * 40


@pytest.fixture
def experiment(lanes_folder: Path) -> Experiment:
    return load_experiment(lanes_folder / "experiment.yaml")


@pytest.fixture
def base_model(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "manta.jsonl").write_text("{}\n", encoding="utf-8")
    return folder


def make_bundle(experiment: Experiment, base_model: Path, **records: SourceRecord) -> Bundle:
    base = SourceRecord(
        name="base", is_local=True, revision="", split="train", digest=hash_source(base_model), licence="x",
        needed=True,
    )  # fmt: skip
    rest = {n: make_record(n, needed=False) for n in experiment.data if n not in records}
    environment = Environment(device="", gpus=(), machine="", python="", packages={})
    return Bundle(
        lane="lane04", experiment="test", experiment_file="experiment.yaml", commit="c", lock_digests={},
        sources={BASE_MODEL: base, **rest, **records}, stages=(), environment=environment,
    )  # fmt: skip


def make_record(name: str, *, local: str = "", needed: bool = True) -> SourceRecord:
    return SourceRecord(
        name=f"{name}.jsonl" if local else f"LGAI-EXAONE/{name}", is_local=bool(local),
        revision="" if local else COMMIT, split="train", digest=local or COMMIT, licence="x", needed=needed,
    )  # fmt: skip


def test_what_no_stage_reads_keeps_its_digest_alone(experiment: Experiment, base_model: Path) -> None:
    placed, notes = place_sources(make_bundle(experiment, base_model), experiment, base_model, None)
    assert {source.digest for source in placed.data.values()} == {COMMIT} and not notes
    assert placed.base_model.source == str(base_model)
    assert placed.base_model.name == experiment.base_model.name


def test_a_local_set_is_found_and_held_to_its_digest(
    experiment: Experiment, base_model: Path, data: Path
) -> None:
    record = make_record("manta", local=hash_source(data / "manta.jsonl"))
    placed, notes = place_sources(
        make_bundle(experiment, base_model, manta=record), experiment, base_model, data
    )
    assert placed.data["manta"].source == str(data / "manta.jsonl") and not notes
    (data / "manta.jsonl").write_text('{"changed": 1}\n', encoding="utf-8")
    with pytest.raises(InputError, match="is not what the bundle was made from") as caught:
        place_sources(make_bundle(experiment, base_model, manta=record), experiment, base_model, data)
    assert "same bytes" in caught.value.remedy


def test_a_copy_stands_in_for_the_hub_and_says_so(
    experiment: Experiment, base_model: Path, data: Path
) -> None:
    bundle = make_bundle(experiment, base_model, manta=make_record("manta"))
    placed, notes = place_sources(bundle, experiment, base_model, data)
    assert placed.data["manta"].source == str(data / "manta.jsonl")
    assert notes == [
        f"manta: {data / 'manta.jsonl'} stands in for LGAI-EXAONE/manta at {COMMIT[:12]} of the hub"
    ]
    fetched, notes = place_sources(bundle, experiment, base_model, None)
    assert (fetched.data["manta"].revision, fetched.data["manta"].digest, notes) == (COMMIT, COMMIT, [])


def test_all_that_is_missing_is_told_at_once(experiment: Experiment, base_model: Path, data: Path) -> None:
    local = {name: make_record(name, local="d" * 64) for name in ("manta", "kmmlu_pro", "ko_longrag")}
    bundle = make_bundle(experiment, base_model, **local)
    (base_model / "config.json").write_text("changed", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        place_sources(bundle, experiment, base_model, data)
    told = sorted(line.partition(":")[0] for line in caught.value.message.splitlines())
    assert told == ["base_model", "kmmlu_pro", "ko_longrag", "manta"]
    assert f"kmmlu_pro: {data} holds no kmmlu_pro.jsonl" in caught.value.message
    with pytest.raises(InputError, match="no such file"):
        place_sources(make_bundle(experiment, base_model), experiment, base_model / "none", None)
