"""Quantization of the tiny model by the real llmcompressor, and post-SFT's promise over its result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from compressed_tensors.quantization import is_preset_scheme
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from lanekit.errors import InputError
from lanekit.files.hashing import hash_file
from lanekit.files.model_folder import measure_weights, read_config
from lanekit.files.safetensors_header import read_header
from lanekit.progress import ignore_progress
from lanekit.spec.quantization import (
    Fp8Params,
    Fp8Scheme,
    GptqParams,
    GptqScheme,
    KeptLayers,
    RoundParams,
    RoundScheme,
)
from quantizer.stages import fp8, gptq
from quantizer.stages import round as rounding

pytestmark = pytest.mark.slow

CALIBRATION: dict[str, Any] = {"calibration_rows": 16, "max_length": 256}
LINEARS_PER_LAYER = 7


def quantize(tiny_model: Path, corpus: Path, out: Path, scheme: str, **changes: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    inputs = {"model": tiny_model, "corpus": corpus}
    values = {"scheme": scheme, **CALIBRATION, **changes}
    if scheme in get_args(GptqScheme):
        gptq.run(GptqParams.model_validate(values), inputs, out, ignore_progress)
    else:
        fp8.run(Fp8Params.model_validate(values), inputs, out, ignore_progress)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def generate(folder: Path) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([[1, 5, 6, 7]])
    tokens: list[int] = model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)[0].tolist()
    return tokens


def test_every_scheme_is_a_compressed_tensors_preset() -> None:
    for scheme in (*get_args(GptqScheme), *get_args(RoundScheme), *get_args(Fp8Scheme)):
        assert is_preset_scheme(scheme), scheme


@pytest.mark.parametrize(
    ("scheme", "format_name", "largest_ratio"),
    [
        ("W4A16", "pack-quantized", 0.40),
        ("W8A16", "pack-quantized", 0.65),
        ("W8A8", "int-quantized", 0.65),
        ("FP8_DYNAMIC", "float-quantized", 0.65),
        ("FP8", "float-quantized", 0.65),
    ],
)
def test_a_scheme_is_stored_compressed_and_generates(
    tiny_model: Path, corpus: Path, tmp_path: Path, scheme: str, format_name: str, largest_ratio: float
) -> None:
    report = quantize(tiny_model, corpus, tmp_path, scheme)
    assert report["format"] == format_name
    assert measure_weights(tmp_path) < largest_ratio * measure_weights(tiny_model)
    names = read_header(tmp_path / "model.safetensors").tensors
    assert "lm_head.weight" not in names
    activations = read_config(tmp_path)["quantization_config"]["config_groups"]["group_0"][
        "input_activations"
    ]
    assert (activations is None) == scheme.endswith("A16")
    if scheme == "FP8":
        assert activations["dynamic"] is False
        assert any(name.endswith("input_scale") for name in names)
    assert (tmp_path / "LICENSE").is_file()
    assert (tmp_path / "chat_template.jinja").is_file()
    assert len(generate(tmp_path)) > 4


@pytest.fixture(scope="module")
def packed(tiny_model: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in W4A16, as the defaults make it."""
    folder = tmp_path_factory.mktemp("packed")
    quantize(tiny_model, corpus, folder, "W4A16")
    return folder


def test_gptq_reports_the_error_of_every_layer_and_repeats_bit_for_bit(
    packed: Path, tiny_model: Path, corpus: Path, tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []
    report = json.loads((packed / "report.json").read_text(encoding="utf-8"))
    n_layers = read_config(tiny_model)["num_hidden_layers"]
    assert len(report["layer_errors"]) == n_layers * LINEARS_PER_LAYER
    assert all(error >= 0 for error in report["layer_errors"].values())
    (tmp_path / "b").mkdir()
    spec = GptqParams(scheme="W4A16", **CALIBRATION)
    gptq.run(
        spec,
        {"model": tiny_model, "corpus": corpus},
        tmp_path / "b",
        lambda step, total, message="": steps.append((step, total)),
    )
    assert hash_file(packed / "model.safetensors") == hash_file(tmp_path / "b" / "model.safetensors")
    assert (n_layers * LINEARS_PER_LAYER,) * 2 in steps


def test_dampening_reaches_gptq(packed: Path, tiny_model: Path, corpus: Path, tmp_path: Path) -> None:
    little = json.loads((packed / "report.json").read_text(encoding="utf-8"))
    much = quantize(tiny_model, corpus, tmp_path / "b", "W4A16", dampening=0.5)
    assert sum(much["layer_errors"].values()) != sum(little["layer_errors"].values())


def test_a_width_outside_the_group_size_is_refused_by_name(
    odd_model: Path, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="input width 96 cannot be cut into groups of 128"):
        quantize(odd_model, corpus, tmp_path / "a", "W4A16")


def test_a_channel_scheme_takes_any_width(odd_model: Path, corpus: Path, tmp_path: Path) -> None:
    assert quantize(odd_model, corpus, tmp_path / "a", "W8A16")["format"] == "pack-quantized"


ROUNDED = [  # scheme, format, bits, group size, largest size by the dense model's
    ("W8A8", "int-quantized", 8, None, 0.9),
    ("W8A16", "pack-quantized", 8, None, 0.9),
    ("W4A16", "pack-quantized", 4, 128, 0.9),
    ("W4A16_ASYM", "pack-quantized", 4, 128, 0.9),
]


@pytest.mark.parametrize(("scheme", "format_name", "bits", "group_size", "largest_ratio"), ROUNDED)
def test_rounding_keeps_the_layers_that_it_is_to_keep(
    small_model: Path, tmp_path: Path, scheme: RoundScheme, format_name: str, bits: int,
    group_size: int | None, largest_ratio: float,
) -> None:  # fmt: skip
    spec = RoundParams(scheme=scheme, keep=KeptLayers(layers=(1,)))
    rounding.run(spec, {"model": small_model}, tmp_path, ignore_progress)
    section = read_config(tmp_path)["quantization_config"]
    group = section["config_groups"]["group_0"]
    assert (group["weights"]["num_bits"], group["weights"]["group_size"]) == (bits, group_size)
    assert group["weights"]["symmetric"] != scheme.endswith("ASYM")
    if scheme == "W8A8":
        assert (group["input_activations"]["dynamic"], group["input_activations"]["strategy"]) == (
            True,
            "token",
        )
    else:
        assert group["input_activations"] is None
    stored = load_file(tmp_path / "model.safetensors")
    dense = load_file(small_model / "model.safetensors")
    kept = [name for name in dense if name.startswith("model.layers.1.") and name.endswith("_proj.weight")]
    assert len(kept) == LINEARS_PER_LAYER
    assert sorted(section["ignore"]) == sorted([*(n.removesuffix(".weight") for n in kept), "lm_head"])
    assert all(torch.equal(stored[name], dense[name]) for name in kept)
    assert not any(name in stored and stored[name].is_floating_point() for name in dense
                   if name.startswith("model.layers.0.") and name.endswith("_proj.weight"))  # fmt: skip
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["format"] == format_name and report["calibration_sequences"] == 0
    unpack = CompressedTensorsConfig(run_compressed=False)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, quantization_config=unpack)
    loaded = model.state_dict()
    for name in (n for n in dense if n.startswith("model.layers.0.") and n.endswith("_proj.weight")):
        wide = dense[name].float().reshape(-1, group_size or dense[name].shape[1])
        # half a step of a grid over the largest magnitude (or the span), and the scale's own rounding
        step = (
            (wide.amax(1) - wide.amin(1)).clamp(min=0) if scheme.endswith("ASYM") else 2 * wide.abs().amax(1)
        )
        error = (loaded[name] - dense[name].float()).abs().reshape(wide.shape).amax(1)
        assert bool((error <= 0.55 * step / (2**bits - 1) * 1.1 + 1e-6).all()), name


def test_gptq_and_fp8_keep_layers_too(small_model: Path, corpus: Path, tmp_path: Path) -> None:
    dense = load_file(small_model / "model.safetensors")
    for scheme in ("W4A16", "FP8_DYNAMIC"):
        quantize(small_model, corpus, tmp_path / scheme, scheme, keep={"layers": [0]}, calibration_rows=4)
        stored = load_file(tmp_path / scheme / "model.safetensors")
        for name in (n for n in dense if n.endswith("_proj.weight")):
            kept = name in stored and torch.equal(stored[name].float(), dense[name].float())
            assert kept == name.startswith("model.layers.0."), name


def test_a_kept_layer_that_is_not_there_is_refused(small_model: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"keep\.layers names 2, and the model's layers are 0 to 1"):
        quantize(small_model, corpus, tmp_path / "a", "W4A16", keep={"layers": [0, 2]})


def test_a_quantized_model_is_not_quantized_again(tiny_model: Path, corpus: Path, tmp_path: Path) -> None:
    quantize(tiny_model, corpus, tmp_path / "a", "FP8_DYNAMIC")
    with pytest.raises(InputError, match="quantized already"):
        quantize(tmp_path / "a", corpus, tmp_path / "b", "W4A16")


def test_a_generation_config_that_cannot_be_written_again_is_carried_over(
    tiny_model: Path, corpus: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny_model, source)
    settings = {"bos_token_id": 1, "eos_token_id": 361, "pad_token_id": 0, "temperature": 0.6, "top_p": 0.95}
    (source / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    quantize(source, corpus, tmp_path / "out", "FP8_DYNAMIC")
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text(encoding="utf-8")) == settings
