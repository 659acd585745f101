"""A model that enters: which of its files are taken along, and weights that are not finite."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lanekit.errors import InputError
from lanekit.progress import ignore_progress
from lanekit.spec.params import FetchModelParams
from trainer.stages import fetch_model


def fetch(source: Path, out: Path) -> dict[str, Any]:
    out.mkdir()
    spec = FetchModelParams.model_validate({"name": "tiny", "model": {"source": str(source)}})
    fetch_model.run(spec, {}, out, ignore_progress)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    return folder


def test_hidden_files_stay_behind_and_others_are_told(model: Path, tmp_path: Path) -> None:
    for name in ("._model.safetensors", "._config.json", "._tokenizer.json"):
        (model / name).write_bytes(b"\x00\x05\x16\x07")
    (model / "modeling_own.py").write_text("x = 1\n")
    report = fetch(model, tmp_path / "out")
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert report["passed_over"] == ["modeling_own.py", "training_log.jsonl"]
    assert report["notes"] == ["not taken along from the model's folder: modeling_own.py, training_log.jsonl"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_model_with_one_bad_weight_is_refused_by_its_name(
    model: Path, tmp_path: Path, value: float
) -> None:
    weights = load_file(model / "model.safetensors")
    name = sorted(weights)[-1]
    weights[name].view(-1)[-1] = torch.tensor(value)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="1 tensor holds NaN or infinity") as caught:
        fetch(model, tmp_path / "out")
    assert f"{name} (1 of " in caught.value.message
    assert caught.value.remedy
