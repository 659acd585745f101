"""Paths as they are typed: what does not exist is told with the closest name, and never asked of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanekit.errors import InputError
from lanekit.sources.resolve import resolve_source
from lanekit.sources.typed import find_source
from lanekit.spec.params import Source


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with data, models and a run's output."""
    for name in (
        "data/kmmlu_pro.jsonl",
        "out/sft-w8/config.json",
        "model/config.json",
        "모델 v1/config.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("data/kmlu_pro.jsonl", " (did you mean 'data/kmmlu_pro.jsonl'?)"),
        ("./data/kmlu_pro.jsonl", " (did you mean 'data/kmmlu_pro.jsonl'?)"),
        ("dat/kmmlu_pro.jsonl", " (did you mean 'data/kmmlu_pro.jsonl'?)"),
        ("kmmlu_pro.parquet", ""),
        ("out/sft", " (did you mean 'out/sft-w8'?)"),
        ("out/sft-w4", " (did you mean 'out/sft-w8'?)"),
        ("sft-w4", ""),
        ("modell", " (did you mean 'model'?)"),
        ("a/b/c", ""),
        ("org/set.jsonl", ""),
        ("org/set.jsonl.gz", ""),
        ("C:\\data\\kmmlu.jsonl", " (folders are parted by / here)"),
        ("모델 v2", " (did you mean '모델 v1'?)"),
        ("/nowhere/x", ""),
    ],
)
def test_a_path_that_does_not_exist_is_a_path(home: Path, source: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        find_source(source, home)
    assert caught.value.message == f"{source}: no such file or folder{hint}"
    assert "OWNER/NAME" in caught.value.remedy


@pytest.mark.parametrize("source", ["model", "model/", "./model", "out/../model"])
def test_a_path_that_exists_is_absolute(home: Path, source: str) -> None:
    assert find_source(source, home) == str(home / "model")


@pytest.mark.parametrize("source", ["LGAI-EXAONE/EXAONE-4.0-1.2B", "org/name_v1.5"])
def test_a_hub_id_is_one(home: Path, source: str) -> None:
    assert find_source(source, home) == source


@pytest.mark.parametrize("source", ["data/x.jsonl", "kmmlu.parquet", "C:\\data", "a/b/c", "bare", "./absent"])
def test_an_experiment_files_path_is_not_asked_of_the_hub(source: str) -> None:
    def ask(*_: object) -> str:
        raise AssertionError("the hub was asked")

    with pytest.raises(InputError, match="no such file or folder"):
        resolve_source(Source(source=source), "dataset", ask)


def test_what_can_be_no_path_is_told(home: Path) -> None:
    for source in ("x\0y", "a" * 5000, "~nobody-of-that-name/x"):
        with pytest.raises(InputError) as caught:
            find_source(source, home)
        assert caught.value.remedy
