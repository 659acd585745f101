"""What each layer costs, held against packages in which that layer alone is quantized; and what is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, CompressedTensorsConfig

from lanekit.errors import InputError
from lanekit.files.conversations import encode_corpus
from lanekit.files.model_folder import carry_files, read_config
from lanekit.progress import ignore_progress
from lanekit.spec.quantization import GptqScheme, KeptLayers, RoundParams, SensitivityParams
from quantizer.layers import LAYERS_NAME, LayerCost, LayerCosts, choose_kept
from quantizer.stages import round as rounding
from quantizer.stages import sensitivity

ROWS, MAX_LENGTH = 3, 64


def make_costs(*layers: tuple[float, int]) -> LayerCosts:
    costs = [LayerCost(layer=n, kl=kl, extra_bytes=extra) for n, (kl, extra) in enumerate(layers)]
    return LayerCosts(scheme="W4A16", layers=tuple(costs))


@pytest.mark.parametrize(
    ("budget_mb", "kept"),
    [(1, (2,)), (1.99, (2,)), (2, (0, 2)), (3, (0, 2, 3)), (3.5, (0, 2, 3))],
)
def test_the_layers_that_move_the_logits_most_are_kept(budget_mb: float, kept: tuple[int, ...]) -> None:
    equal = [(0.5, 10**6), (0.1, 10**6), (0.9, 10**6), (0.4, 10**6), (0.0, 10**6)]
    assert choose_kept(make_costs(*equal), keep(budget_mb=budget_mb)) == kept
    assert choose_kept(make_costs(*equal), keep(count=len(kept))) == kept


def keep(**limit: float) -> KeptLayers:
    return KeptLayers.model_validate({"by": "sensitivity", **limit})


def test_bytes_count_and_equal_layers_go_by_number() -> None:
    costs = make_costs((0.5, 5 * 10**6), (0.4, 10**6), (0.4, 10**6))
    assert choose_kept(costs, keep(budget_mb=1)) == (1,)
    assert choose_kept(costs, keep(budget_mb=4)) == (1, 2)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"budget_mb": 0.9}, "keep.budget_mb is 0.9: no layer would be kept"),
        ({"budget_mb": 2}, "keep.budget_mb is 2: every layer would be kept"),
        ({"count": 2}, "keep.count is 2: every layer would be kept"),
        ({"count": 3}, "keep.count is 3: every layer would be kept"),
    ],
)
def test_to_keep_none_or_all_is_refused(limit: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        choose_kept(make_costs((0.5, 10**6), (0.4, 10**6)), keep(**limit))
    assert caught.value.remedy == "one of 2 layers takes 1.00 MB, all take 2.00: keep some"


@pytest.mark.parametrize(
    ("limit", "lengths"),
    [(6, [[3, 2], [2, 2, 1]]), (4, [[3], [2, 2], [2, 1]]), (1, [[3], [2], [2], [2], [1]])],
)
def test_rows_are_batched_by_length(limit: int, lengths: list[list[int]]) -> None:
    rows = [[1, 1], [2], [3, 3, 3], [4, 4], [5, 5]]
    found = sensitivity.batch_rows(rows, limit)
    assert [[len(row) for row in batch] for batch in found] == lengths
    assert sorted(row for batch in found for row in map(list, batch)) == sorted(rows)


@pytest.fixture(scope="module")
def uneven_model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model with weights in its second layer that no grid of four bits fits."""
    folder = tmp_path_factory.mktemp("uneven")
    carry_files(small_model, folder)
    tensors = load_file(small_model / "model.safetensors")
    for name in (n for n in tensors if "layers.1." in n and n.endswith("_proj.weight")):
        tensors[name] = tensors[name].contiguous()
        tensors[name][:, ::32] *= 40
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_bytes((small_model / "config.json").read_bytes())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["W4A16", "W8A8"])
def test_costs_are_those_of_packages_with_one_layer_quantized(
    uneven_model: Path, corpus: Path, tmp_path: Path, scheme: GptqScheme
) -> None:
    spec = SensitivityParams(scheme=scheme, ignore=("lm_head",), rows=ROWS, max_length=MAX_LENGTH)
    inputs = {"model": uneven_model, "corpus": corpus}
    sensitivity.run(spec, inputs, tmp_path, ignore_progress)
    costs = LayerCosts.model_validate_json((tmp_path / LAYERS_NAME).read_text("utf-8"))
    assert [cost.layer for cost in costs.layers] == [0, 1]
    tokenizer = AutoTokenizer.from_pretrained(uneven_model)
    encoded = encode_corpus(tokenizer, corpus / "calibration.jsonl", MAX_LENGTH, ROWS, last_answers=True)
    dense = AutoModelForCausalLM.from_pretrained(uneven_model, dtype="auto")
    for cost in costs.layers:
        out = tmp_path / f"without-{cost.layer}"
        out.mkdir()
        other = KeptLayers(layers=(1 - cost.layer,))
        rounding.run(RoundParams(scheme=scheme, keep=other), {"model": uneven_model}, out, ignore_progress)
        unpack = CompressedTensorsConfig(run_compressed=False)
        packed = AutoModelForCausalLM.from_pretrained(out, dtype="auto", quantization_config=unpack)
        total, n_tokens = 0.0, 0
        for sample in encoded.samples:
            ids = torch.tensor([sample["input_ids"]])
            with torch.inference_mode():
                p, q = (model(ids).logits.double().softmax(-1) for model in (dense, packed))
            total += float((p * (p / q).log()).sum())
            n_tokens += ids.numel()
        assert cost.kl == pytest.approx(total / n_tokens, rel=0.02)
        grown = sum(p.stat().st_size for p in out.glob("*.safetensors"))
        assert grown == pytest.approx(
            (uneven_model / "model.safetensors").stat().st_size - cost.extra_bytes, rel=0.02
        )
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["measured_as"] == scheme and report["calibration_rows"] == ROWS
    assert report["kl_by_layer"] == {str(cost.layer): cost.kl for cost in costs.layers}


@pytest.mark.slow
def test_a_quantization_keeps_what_was_measured_to_cost_most(
    uneven_model: Path, corpus: Path, tmp_path: Path
) -> None:
    spec = SensitivityParams(scheme="W4A16", ignore=("lm_head",), rows=ROWS, max_length=MAX_LENGTH)
    inputs = {"model": uneven_model, "corpus": corpus}
    (tmp_path / "costs").mkdir()
    sensitivity.run(spec, inputs, tmp_path / "costs", ignore_progress)
    costs = LayerCosts.model_validate_json((tmp_path / "costs" / LAYERS_NAME).read_text("utf-8"))
    most = max(costs.layers, key=lambda cost: cost.kl)
    assert most.kl > 1.05 * min(cost.kl for cost in costs.layers)
    (tmp_path / "out").mkdir()
    one = KeptLayers(by="sensitivity", budget_mb=1.1 * most.extra_bytes / 1e6)
    rounding.run(
        RoundParams(scheme="W4A16", keep=one),
        {**inputs, "sensitivity": tmp_path / "costs"}, tmp_path / "out", ignore_progress,
    )  # fmt: skip
    left_out = read_config(tmp_path / "out")["quantization_config"]["ignore"]
    assert {name.split(".")[2] for name in left_out if name != "lm_head"} == {str(most.layer)}
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["kept_layers"] == [most.layer]
