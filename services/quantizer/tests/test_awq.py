"""AWQ on the tiny model by the real llmcompressor: what is stored and scaled, the mean of activations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from llmcompressor.modifiers.awq import base as awq_base
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils.quantization_config import CompressedTensorsConfig

from lanekit.errors import InputError
from lanekit.files.finite_weights import NonFiniteWeightsError
from lanekit.files.hashing import hash_file
from lanekit.files.model_folder import measure_weights, read_config
from lanekit.progress import ignore_progress
from lanekit.spec.quantization import AwqParams
from quantizer.awq_recording import AwqRecord, accumulate_mean, record_awq
from quantizer.stages import awq

CALIBRATION: dict[str, Any] = {"calibration_rows": 4, "max_length": 128, "grid_points": 4}
LAYERS = 30


def quantize(tiny_model: Path, corpus: Path, out: Path, **changes: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    spec = AwqParams.model_validate({"scheme": "W4A16", **CALIBRATION, **changes})
    steps: list[tuple[int, int]] = []
    awq.run(spec, {"model": tiny_model, "corpus": corpus}, out, lambda step, n, _="": steps.append((step, n)))
    n_layers = read_config(tiny_model)["num_hidden_layers"]
    assert (n_layers, n_layers) in steps
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


@pytest.fixture(scope="module")
def packed(tiny_model: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in W4A16 by AWQ."""
    folder = tmp_path_factory.mktemp("packed")
    quantize(tiny_model, corpus, folder)
    return folder


@pytest.mark.slow
def test_the_model_is_packed_with_one_head_and_generates(packed: Path, tiny_model: Path) -> None:
    report = json.loads((packed / "report.json").read_text(encoding="utf-8"))
    assert report["format"] == "pack-quantized" and report["calibration_sequences"] == 4
    assert measure_weights(packed) < 0.4 * measure_weights(tiny_model)
    names = set(load_file(packed / "model.safetensors"))
    assert "lm_head.weight" not in names and "model.embed_tokens.weight" in names
    assert sum(name.endswith("weight_packed") for name in names) == 7 * LAYERS
    group = read_config(packed)["quantization_config"]["config_groups"]["group_0"]
    assert group["weights"]["group_size"] == 128 and group["weights"]["symmetric"]
    model = AutoModelForCausalLM.from_pretrained(packed, dtype=torch.float32)
    tokens = model.generate(torch.tensor([[1, 5, 6, 7]]), max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert tokens.shape[1] > 4


@pytest.mark.slow
def test_what_is_scaled_is_up_to_down_alone_where_v_is_narrower_than_o(packed: Path) -> None:
    errors = json.loads((packed / "report.json").read_text(encoding="utf-8"))["pair_errors"]
    assert list(errors) == [f"model.layers.{n}.mlp.up_proj" for n in range(LAYERS)]
    assert all(error > 0 for error in errors.values())


@pytest.mark.slow
def test_what_up_takes_down_gives_back(packed: Path, tiny_model: Path) -> None:
    """The product of the two is the model's own but for channels that four bits lose; a search that leaves
    its trials in the weights makes it ten times and more."""
    whole = CompressedTensorsConfig(run_compressed=False)
    model = AutoModelForCausalLM.from_pretrained(packed, dtype=torch.float32, quantization_config=whole)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    for ours, theirs in zip(model.model.layers, base.model.layers, strict=True):
        scales = theirs.mlp.up_proj.weight.norm(dim=1) / ours.mlp.up_proj.weight.norm(dim=1)
        given = ours.mlp.down_proj.weight / scales
        assert 0.3 < given.norm() / theirs.mlp.down_proj.weight.norm() < 1.5


@pytest.mark.slow
def test_awq_repeats_bit_for_bit_and_takes_its_parameters(
    short_model: Path, corpus: Path, tmp_path: Path
) -> None:
    once = quantize(short_model, corpus, tmp_path / "a")
    quantize(short_model, corpus, tmp_path / "b")
    assert len({hash_file(tmp_path / name / "model.safetensors") for name in "ab"}) == 1
    asym = quantize(short_model, corpus, tmp_path / "c", scheme="W4A16_ASYM")
    names = load_file(tmp_path / "c" / "model.safetensors")
    assert sum(name.endswith("weight_zero_point") for name in names) == 7 * 2
    finer = quantize(short_model, corpus, tmp_path / "d", grid_points=16)
    assert finer["pair_errors"] != once["pair_errors"] != asym["pair_errors"]
    assert all(finer["pair_errors"][name] <= error for name, error in once["pair_errors"].items())


def test_the_mean_weighs_every_token_alike() -> None:
    parts = [torch.tensor([[3.0, 0.0], [1.0, 2.0]]), torch.tensor([[8.0, 1.0]]), torch.zeros(5, 2)]
    mean: tuple[torch.Tensor, int] | None = None
    theirs: Any = None
    for part in parts:
        mean = accumulate_mean(part, mean)
        theirs = awq_base._accumulate_mean(part, theirs)
    assert mean is not None and mean[1] == 8
    torch.testing.assert_close(mean[0], torch.cat(parts).mean(dim=0))
    assert not torch.allclose(theirs[0], mean[0]), "the library is mended: take accumulate_mean out"


def test_the_library_is_itself_again_after_the_block() -> None:
    before = (awq_base._accumulate_mean, awq_base.AWQModifier._compute_loss)
    with record_awq(ignore_progress) as record:
        assert awq_base._accumulate_mean is accumulate_mean
    assert (awq_base._accumulate_mean, awq_base.AWQModifier._compute_loss) == before
    assert record == AwqRecord()


def test_a_pair_that_was_passed_over_is_no_awq(tmp_path: Path) -> None:
    awq.check_pairs(AwqRecord(["a"], {"a": 0.0}), tmp_path)
    with pytest.raises(InputError, match="AWQ finds no two layers") as nothing:
        awq.check_pairs(AwqRecord(), tmp_path)
    assert nothing.value.remedy == "use gptq for this model"
    with pytest.raises(NonFiniteWeightsError, match="AWQ found no scales at b, c, d and 1 more: ") as caught:
        awq.check_pairs(AwqRecord(list("abcde"), {"a": 0.1}), tmp_path)
    assert "other calibration rows" in caught.value.remedy


def test_a_width_outside_the_group_size_is_refused_by_name(
    odd_model: Path, corpus: Path, tmp_path: Path
) -> None:
    spec = AwqParams(scheme="W4A16", calibration_rows=4, max_length=64)
    with pytest.raises(InputError, match="input width 96 cannot be cut into groups of 128"):
        awq.run(spec, {"model": odd_model, "corpus": corpus}, tmp_path, ignore_progress)
