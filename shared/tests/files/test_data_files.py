"""Which files of a folder are a data set's rows, a model's weights, and what is passed over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lanekit.errors import InputError
from lanekit.files.data_files import list_data_files
from lanekit.files.hashing import hash_source, list_files
from lanekit.files.model_folder import carry_files, list_weight_files, measure_weights
from lanekit.files.safetensors_header import INDEX_NAME, check_model_folder
from lanekit.sources.resolve import resolve_source
from lanekit.spec.params import Source

HIDDEN = ("._test.jsonl", ".cache/huggingface/trash.json", ".ipynb_checkpoints/test-checkpoint.jsonl",
          "__MACOSX/test.jsonl", ".DS_Store", "Thumbs.db")  # fmt: skip


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'{{"name": "{name}"}}\n', encoding="utf-8")
    return folder


def choose(folder: Path, split: str = "train") -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_data_files(folder, split).files]


def test_hidden_files_are_neither_read_nor_hashed(tmp_path: Path) -> None:
    plain, full = fill(tmp_path / "plain", "test.jsonl"), fill(tmp_path / "full", "test.jsonl", *HIDDEN)
    assert choose(plain) == choose(full) == ["test.jsonl"]
    assert hash_source(plain) == hash_source(full)
    assert [path.name for path in list_files(full)] == ["test.jsonl"]


def test_a_hidden_folder_above_does_not_hide(tmp_path: Path) -> None:
    folder = fill(tmp_path / ".cache" / "snapshots", "test.jsonl")
    assert choose(folder) == ["test.jsonl"]


def test_metadata_and_other_kinds_are_passed_over_and_told(tmp_path: Path) -> None:
    names = (
        "a.jsonl",
        "dataset_infos.json",
        "dataset_info.json",
        "b.csv",
        "c.jsonl.gz",
        "README.md",
        "LICENSE",
    )
    found = list_data_files(fill(tmp_path, *names), "train")
    assert [path.name for path in found.files] == ["a.jsonl"]
    assert found.describe("set") == [
        "set: passed over (not .jsonl, .json, .parquet): b.csv, c.jsonl.gz",
        "set: passed over (metadata of the data set): dataset_info.json, dataset_infos.json",
    ]


@pytest.mark.parametrize(
    ("split", "expected"),
    [("train", ["data/train-00000-of-00001.jsonl"]), ("test", ["data/test-00000-of-00001.jsonl"]),
     ("validation", ["dev/rows.jsonl"]), ("Test", ["data/test-00000-of-00001.jsonl"])],
)  # fmt: skip
def test_splits_are_not_merged(tmp_path: Path, split: str, expected: list[str]) -> None:
    names = (
        "data/train-00000-of-00001.jsonl",
        "data/test-00000-of-00001.jsonl",
        "dev/rows.jsonl",
        "extra.jsonl",
    )
    found = list_data_files(fill(tmp_path, *names), split)
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == expected
    assert len(found.passed_over) == 3
    assert f"another split than '{split}'" in found.describe("set")[-1]


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="holds the splits test, train, and none of the name 'validation'"
    ) as caught:
        choose(fill(tmp_path, "train.jsonl", "test.jsonl"), "validation")
    assert "`split`" in caught.value.remedy


def test_one_split_is_read_whatever_its_name_and_several_files_are_told(tmp_path: Path) -> None:
    assert choose(fill(tmp_path / "one", "test.jsonl")) == ["test.jsonl"]
    folder = fill(tmp_path / "parts", "part-1.jsonl", "part-2.jsonl", "latest.JSONL")
    assert choose(folder) == ["latest.JSONL", "part-1.jsonl", "part-2.jsonl"]
    assert list_data_files(folder, "train").describe("set") == [
        "set: 3 files are read as one: latest.JSONL, part-1.jsonl, part-2.jsonl"
    ]


def test_the_same_rows_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jsonl and a\.parquet hold the same rows"):
        choose(fill(tmp_path / "forms", "a.jsonl", "a.parquet"))
    copies = fill(tmp_path / "copies", "a.jsonl")
    (copies / "b.jsonl").write_bytes((copies / "a.jsonl").read_bytes())
    with pytest.raises(InputError, match=r"a\.jsonl and b\.jsonl hold the same rows") as caught:
        choose(copies)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "advice"),
    [("manta.jsonl.gz", "gunzip --keep manta.jsonl.gz"), ("manta.zip", "unpack"), ("manta.csv", "to_json"),
     ("manta.arrow", "convert"), ("manta", ".jsonl"), ("manta.txt", ".jsonl")],
)  # fmt: skip
def test_a_kind_that_is_not_read_is_refused_when_planning(tmp_path: Path, name: str, advice: str) -> None:
    fill(tmp_path / "folder", name)
    for source in (tmp_path / "folder" / name, tmp_path / "folder"):
        with pytest.raises(InputError) as caught:
            resolve_source(Source(source=str(source)), "dataset")
        assert advice in caught.value.remedy


def test_a_model_folders_weights_are_those_of_its_index(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3)}, tmp_path / "model-00001-of-00001.safetensors")
    save_file({"a": np.zeros(300)}, tmp_path / "consolidated.safetensors")
    for hidden in ("._model.safetensors", "._config.json", "._tokenizer.json"):
        (tmp_path / hidden).write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / INDEX_NAME).write_text(json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}}))
    assert list(check_model_folder(tmp_path).headers) == ["model-00001-of-00001.safetensors"]
    assert [path.name for path in list_weight_files(tmp_path)] == ["model-00001-of-00001.safetensors"]
    assert measure_weights(tmp_path) < 300
    (tmp_path / "out").mkdir()
    carry_files(tmp_path, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tokenizer.json"]


def test_hidden_weights_count_for_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "._model.safetensors").write_bytes(b"\x00\x05\x16\x07")
    with pytest.raises(InputError, match=r"no \*\.safetensors file"):
        check_model_folder(tmp_path)
    save_file({"a": np.zeros(3)}, tmp_path / "model.safetensors")
    assert list(check_model_folder(tmp_path).headers) == ["model.safetensors"]


def test_two_sets_of_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for name in ("model.safetensors", "model-00001-of-00001.safetensors"):
        save_file({"a": np.zeros(3)}, tmp_path / name)
    (tmp_path / INDEX_NAME).write_text(json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}}))
    with pytest.raises(InputError, match="two sets of weights") as caught:
        check_model_folder(tmp_path)
    assert INDEX_NAME in caught.value.remedy
