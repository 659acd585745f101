"""A calibration set of two sources: its order, its rows, and what it says of contamination."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lanekit.errors import InputError
from lanekit.files.conversations import read_conversations
from lanekit.progress import ignore_progress
from lanekit.spec.params import MixCalibrationParams, PrepareCorpusParams
from trainer.stages import mix_calibration, prepare_corpus


def write_corpus(folder: Path, texts: list[str], contamination: dict[str, int]) -> Path:
    folder.mkdir()
    rows = [
        {"conversations": [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]}
        for text in texts
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "calibration.jsonl").write_text(lines, encoding="utf-8")
    report = {"contamination": {"calibration": contamination, "train": {"kmmlu_pro": 9}}}
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return folder


def mix(out: Path, inputs: dict[str, Path], rows: dict[str, int]) -> list[str]:
    out.mkdir()
    mix_calibration.run(MixCalibrationParams(rows=rows), inputs, out, ignore_progress)
    return [talk[0]["content"] for talk in read_conversations(out / "calibration.jsonl")]


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Path]:
    return {
        "manta": write_corpus(tmp_path / "m", [f"가{i}" for i in range(6)], {"kmmlu_pro": 2}),
        "general": write_corpus(tmp_path / "g", ["g0", "가1", "g2", "g3"], {"kmmlu_pro": 1, "ko_longrag": 1}),
    }


def test_the_first_rows_of_each_are_taken_and_a_row_of_both_once(
    tmp_path: Path, two: dict[str, Path]
) -> None:
    texts = mix(tmp_path / "out", two, {"manta": 4, "general": 2})
    assert Counter(texts) == Counter(["가0", "가1", "가2", "가3", "g0", "g2"])
    report: dict[str, Any] = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["contamination"] == {"calibration": {"kmmlu_pro": 3, "ko_longrag": 1}}
    assert report["calibration_rows"] == 6
    rows = (tmp_path / "out" / "calibration.jsonl").read_text(encoding="utf-8").splitlines()
    assert Counter(json.loads(row)["source"] for row in rows) == {"manta": 4, "general": 2}


def test_a_source_that_is_too_small_is_named(tmp_path: Path, two: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="takes 4 rows of 'general', whose calibration set has 4, 1 of them"):
        mix(tmp_path / "out", two, {"manta": 4, "general": 4})


def test_a_set_of_messages_without_complexity_is_prepared_and_guarded(
    data_folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    item = json.loads((data_folder / "ko_longrag.jsonl").read_text(encoding="utf-8").splitlines()[0])
    rows = (data_folder / "general.jsonl").read_text(encoding="utf-8").splitlines()
    talk = [{"role": "user", "content": item["context"]}, {"role": "assistant", "content": "1"}]
    taken = json.dumps({"messages": talk}, ensure_ascii=False)
    (tmp_path / "general.jsonl").write_text("\n".join([*rows[:60], taken]) + "\n", encoding="utf-8")
    values = {
        "name": "general", "corpus": {"source": str(tmp_path / "general.jsonl")}, "train_rows": 60,
        "validation_rows": 1, "calibration_rows": 16, "contamination": "refuse",
    }  # fmt: skip
    inputs = {"model": tiny_model, "suite": data_folder}
    with pytest.raises(InputError, match="hold benchmark text"):
        prepare_corpus.run(PrepareCorpusParams.model_validate(values), inputs, tmp_path, ignore_progress)
    values |= {"contamination": "drop", "train_rows": 59}
    prepare_corpus.run(PrepareCorpusParams.model_validate(values), inputs, tmp_path, ignore_progress)
    assert len(read_conversations(tmp_path / "calibration.jsonl")) == 16
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["dropped"] <= 1
    assert not any(report["contamination"]["calibration"].values())
