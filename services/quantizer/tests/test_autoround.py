"""AutoRound on two layers of the tiny model by the real auto-round, and the blocks that it trains on."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lanekit.errors import InputError, PermanentError
from lanekit.files.finite_weights import NonFiniteWeightsError
from lanekit.files.hashing import hash_file
from lanekit.files.model_folder import read_config
from lanekit.progress import ignore_progress
from lanekit.spec.quantization import AutoRoundParams, GptqParams
from quantizer.blocks import join_rows
from quantizer.loading import CalibrationSet
from quantizer.stages import autoround, gptq

CALIBRATION: dict[str, Any] = {"calibration_rows": 8, "max_length": 64}
needs_library = pytest.mark.skipif(find_spec("auto_round") is None, reason="auto-round is not installed")


def quantize(model: Path, corpus: Path, out: Path, **changes: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    values = {"scheme": "W4A16", "iterations": 24, "batch_size": 2, **CALIBRATION, **changes}
    steps: list[tuple[int, int]] = []
    autoround.run(
        AutoRoundParams.model_validate(values), {"model": model, "corpus": corpus}, out,
        lambda step, total, _="": steps.append((step, total)),
    )  # fmt: skip
    assert steps == [(0, 2), (1, 2), (2, 2)]
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


@pytest.fixture(scope="module")
def packed(short_model: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two layers in W4A16 by AutoRound."""
    folder = tmp_path_factory.mktemp("packed")
    quantize(short_model, corpus, folder)
    return folder


@needs_library
@pytest.mark.slow
def test_the_model_is_stored_as_gptqs_is_and_generates(
    packed: Path, short_model: Path, corpus: Path, tmp_path: Path
) -> None:
    gptq.run(
        GptqParams(scheme="W4A16", **CALIBRATION), {"model": short_model, "corpus": corpus}, tmp_path,
        ignore_progress,
    )  # fmt: skip
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (packed, tmp_path))
    assert {n: (t.shape, t.dtype) for n, t in ours.items()} == {
        n: (t.shape, t.dtype) for n, t in theirs.items()
    }
    assert "lm_head.weight" not in ours
    settings = [read_config(folder)["quantization_config"]["config_groups"] for folder in (packed, tmp_path)]
    for setting in settings:
        del setting["group_0"]["weights"]["actorder"], setting["group_0"]["weights"]["observer"]
    assert settings[0] == settings[1]
    model = AutoModelForCausalLM.from_pretrained(packed, dtype=torch.float32)
    tokens = model.generate(torch.tensor([[1, 5, 6, 7]]), max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert tokens.shape[1] > 4


@needs_library
@pytest.mark.slow
def test_learning_lowers_the_loss_of_rounding(packed: Path) -> None:
    losses = json.loads((packed / "report.json").read_text(encoding="utf-8"))["layer_losses"]
    assert list(losses) == ["model.layers.0", "model.layers.1"]
    assert all(0 < pair["least"] < pair["rounded"] for pair in losses.values())


@needs_library
@pytest.mark.slow
def test_autoround_repeats_bit_for_bit_and_its_seed_counts(
    packed: Path, short_model: Path, corpus: Path, tmp_path: Path
) -> None:
    quantize(short_model, corpus, tmp_path / "again")
    quantize(short_model, corpus, tmp_path / "other", seed=7)
    first, again, other = (hash_file(f / "model.safetensors")
                           for f in (packed, tmp_path / "again", tmp_path / "other"))  # fmt: skip
    assert first == again != other


@needs_library
@pytest.mark.slow
def test_what_is_unpacked_is_near_the_original(packed: Path, short_model: Path) -> None:
    """Rounding and clipping to four bits: a scale that belonged to other weights would lose much more."""
    unpacked = AutoModelForCausalLM.from_pretrained(packed, dtype=torch.float32)
    unpacked.generate(torch.tensor([[1, 5]]), max_new_tokens=1, do_sample=False, pad_token_id=0)
    found = dict(unpacked.named_parameters())
    dense = load_file(short_model / "model.safetensors")
    linears = [name for name in dense if name.endswith("_proj.weight")]
    assert len(linears) == 7 * 2
    for name in linears:
        original = dense[name].float()
        assert (found[name].float() - original).norm() < 0.2 * original.norm(), name


def make_rows(*lengths: int) -> CalibrationSet:
    rows = [{"input_ids": [n] * size, "attention_mask": [1] * size} for n, size in enumerate(lengths)]
    return CalibrationSet(Dataset.from_list(rows), {"calibration_rows": len(rows)}, [])


@pytest.mark.parametrize(
    ("lengths", "batch_size", "count", "left_out"),
    [((3, 5), 2, 2, 0), ((3, 6), 8, 2, 1), ((8, 4), 2, 2, 4), ((8, 4), 8, 3, 0), ((40, 1), 3, 9, 5)],
)
def test_rows_are_joined_into_blocks_none_of_which_stands_alone_in_a_batch(
    lengths: tuple[int, ...], batch_size: int, count: int, left_out: int
) -> None:
    blocks = join_rows(make_rows(*lengths), 4, batch_size)
    found = [row["input_ids"] for row in blocks.calibration.sequences]
    tokens = [n for n, size in enumerate(lengths) for _ in range(size)]
    assert len(found) == count and blocks.tokens_left_out == left_out
    assert [token for row in found for token in row] == tokens[: 4 * count]
    assert all(row["attention_mask"] == [1] * 4 for row in blocks.calibration.sequences)
    assert blocks.calibration.report == {"calibration_rows": len(lengths)}


def test_too_few_tokens_are_refused() -> None:
    with pytest.raises(InputError, match="hold 7 tokens: not two blocks of max_length 4") as caught:
        join_rows(make_rows(3, 4), 4, 2)
    assert caught.value.remedy == "raise calibration_rows of this stage, or lower its max_length"


def test_a_loss_that_is_no_number_names_its_layer() -> None:
    autoround.check_losses({"a": (0.2, 0.1)})
    with pytest.raises(NonFiniteWeightsError, match="not finite at b") as caught:
        autoround.check_losses({"a": (0.2, 0.1), "b": (0.2, float("nan"))})
    assert "other calibration rows" in caught.value.remedy


def test_without_the_library_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantizer.stages.autoround.find_spec", lambda _name: None)
    with pytest.raises(PermanentError, match="auto-round, which is not installed here") as caught:
        autoround.check_library()
    assert "./scripts/dev setup" in caught.value.remedy
