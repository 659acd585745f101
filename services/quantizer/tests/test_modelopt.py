"""ModelOpt's format: tensors read back by safetensors alone, and held against the dense model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lanekit.files.model_folder import read_config
from lanekit.progress import ignore_progress
from lanekit.spec.quantization import Fp8Params
from quantizer.loading import load_calibration_set
from quantizer.modelopt import check_scales, convert_tensors, describe_format, describe_legacy, share_scales
from quantizer.saving import BadCheckpointError
from quantizer.stages import fp8

CALIBRATION: dict[str, Any] = {"calibration_rows": 8, "max_length": 128}
KEPT = 0
HALF_STEP = 2.0**-4  # of e4m3, relative: three bits of mantissa
SMALLEST = 2.0**-9  # its least magnitude above 0


def test_parts_that_vllm_fuses_share_a_scale() -> None:
    parts = ("q_proj", "k_proj", "v_proj", "o_proj")
    weights = {f"a.{part}": torch.full((2, 2), float(number)) for number, part in enumerate(parts, 1)}
    weights |= {"b.q_proj": torch.full((2, 2), -448.0), "m.gate_proj": torch.zeros(2, 2)}
    scales = {name: float(scale) for name, scale in share_scales(weights).items()}
    fused = pytest.approx(3 / 448)
    assert scales == {
        "a.q_proj": fused, "a.k_proj": fused, "a.v_proj": fused, "a.o_proj": pytest.approx(4 / 448),
        "b.q_proj": 1.0, "m.gate_proj": 1.0,
    }  # fmt: skip


def test_tensors_are_converted_and_others_carried() -> None:
    dense = {"m.up_proj.weight": torch.tensor([[1.0, -448.0], [0.3, 1e-9]])}
    packed = {
        "m.up_proj.weight": torch.zeros(2, 2, dtype=torch.float8_e4m3fn),
        "m.up_proj.weight_scale": torch.tensor([7.0]),
        "m.up_proj.input_scale": torch.tensor([0.5], dtype=torch.bfloat16),
        "l.self_attn.k_scale": torch.tensor([0.25], dtype=torch.bfloat16),
        "l.self_attn.k_zero_point": torch.tensor([0]),
        "norm.weight": torch.tensor([2.0], dtype=torch.bfloat16),
    }
    found = convert_tensors(packed, dense)
    assert found["m.up_proj.weight"].float().tolist() == [[1.0, -448.0], [pytest.approx(0.3125), 0.0]]
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()} == {
        "m.up_proj.weight": (torch.float8_e4m3fn, (2, 2)), "m.up_proj.weight_scale": (torch.float32, ()),
        "m.up_proj.input_scale": (torch.float32, ()), "l.self_attn.k_scale": (torch.float32, ()),
        "norm.weight": (torch.bfloat16, (1,)),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scales", "n_layers", "said"),
    [
        ({"a.input_scale": 0.0}, 0, "scales that are not above 0: a.input_scale"),
        ({"a.input_scale": float("nan")}, 0, "not above 0"),
        ({"l.0.self_attn.k_scale": 1.0}, 1, "1 KV scales; each of 1 layers"),
        ({"l.0.self_attn.attn.k_scale": 1.0, "l.0.self_attn.attn.v_scale": 1.0}, 1, "0 KV scales"),
        ({"l.0.self_attn.k_scale": 1.0, "l.0.self_attn.v_scale": 1.0}, 0, "2 KV scales"),
    ],
)
def test_scales_that_vllm_could_not_use_are_refused(
    scales: dict[str, float], n_layers: int, said: str
) -> None:
    with pytest.raises(BadCheckpointError, match=said):
        check_scales({name: torch.tensor(value) for name, value in scales.items()}, n_layers)


def test_the_configuration_asks_for_the_cache_only_where_it_was_asked_for() -> None:
    with_cache = describe_format(["lm_head"], with_kv_scales=True)
    assert with_cache == {
        "quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8",
        "ignore": ["lm_head"], "exclude_modules": ["lm_head"],
    }  # fmt: skip
    assert describe_legacy(with_cache)["quantization"] == {
        "quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"],
    }  # fmt: skip
    without = describe_format(["lm_head"], with_kv_scales=False)
    assert "kv_cache_quant_algo" not in without
    assert describe_legacy(without)["quantization"]["kv_cache_quant_algo"] is None


@pytest.fixture(scope="module")
def package(odd_model: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers in ModelOpt's format with KV scales, its first layer kept."""
    out = tmp_path_factory.mktemp("modelopt")
    spec = Fp8Params.model_validate(
        {"scheme": "FP8", "format": "modelopt", "kv_cache": "fp8", "keep": {"layers": [KEPT]}, **CALIBRATION}
    )
    fp8.run(spec, {"model": odd_model, "corpus": corpus}, out, ignore_progress)
    return out


@pytest.mark.slow
def test_a_package_read_independently_is_the_dense_model(package: Path, odd_model: Path) -> None:
    stored, dense = load_file(package / "model.safetensors"), load_file(odd_model / "model.safetensors")
    left_out = read_config(package)["quantization_config"]["ignore"]
    linears = [name for name in dense if name.endswith("_proj.weight")]
    quantized = [name for name in linears if f"layers.{KEPT}." not in name]
    assert sorted(left_out) == sorted(
        [*(name.removesuffix(".weight") for name in set(linears) - set(quantized)), "lm_head"]
    )
    for name in quantized:
        codes, scale = stored[name], stored[f"{name}_scale"]
        assert codes.dtype == torch.float8_e4m3fn and codes.shape == dense[name].shape
        assert scale.shape == stored[name.replace("weight", "input_scale")].shape == ()
        error = (codes.float() * scale - dense[name].float()).abs()
        assert bool((error <= dense[name].float().abs() * HALF_STEP + SMALLEST * scale).all()), name
        assert codes.float().abs().max() <= 448
    for names in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")):
        scales = [stored[n + "_scale"] for n in quantized if n.split(".")[-2] in names]
        assert len(scales) == len(names) and len({float(scale) for scale in scales}) == 1
    cache_scales = {f"model.layers.{layer}.self_attn.{kind}_scale" for layer in (0, 1) for kind in "kv"}
    scale_names = {f"{n}_scale" for n in quantized} | {n.replace("weight", "input_scale") for n in quantized}
    assert set(stored) == set(dense) | scale_names | cache_scales
    for name in set(dense) - set(quantized):
        assert torch.equal(stored[name], dense[name]), name
    assert json.loads((package / "report.json").read_text("utf-8"))["format"] == "modelopt"
    assert not [path for path in package.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_kv_scales_are_those_of_what_enters_the_cache(package: Path, odd_model: Path, corpus: Path) -> None:
    """The first layer is kept, so that the dense model's own cache is what calibration saw there."""
    model = AutoModelForCausalLM.from_pretrained(odd_model, dtype="auto")
    rows = load_calibration_set(
        AutoTokenizer.from_pretrained(odd_model), corpus, Fp8Params(scheme="FP8", **CALIBRATION)
    ).sequences
    largest = {"k": 0.0, "v": 0.0}
    with torch.inference_mode():
        for row in rows:
            cache = model(torch.tensor([row["input_ids"]]), use_cache=True).past_key_values
            layer = cache.layers[KEPT]
            for kind, states in (("k", layer.keys), ("v", layer.values)):
                largest[kind] = max(largest[kind], float(states.abs().max()))
    stored = load_file(package / "model.safetensors")
    for kind, magnitude in largest.items():
        found = float(stored[f"model.layers.{KEPT}.self_attn.{kind}_scale"])
        assert found == pytest.approx(magnitude / 448, rel=2**-7)  # it was held in the model's dtype
