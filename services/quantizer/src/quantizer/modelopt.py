"""A package in NVIDIA ModelOpt's FP8 format, as vLLM 0.14.1 reads it.

Each quantized linear has an e4m3 `weight`, a `weight_scale` and an `input_scale`, one number each. vLLM fuses
q, k, v and gate, up and gives each group one weight scale: where the parts' differ, it rounds the weights a
second time. So the parts of a group share their scale here, and the dense weights are rounded once.

The KV scales are `….self_attn.k_scale` and `v_scale`. vLLM's loader for EXAONE-4 ends in a KeyError at
`k_proj.k_scale`, ModelOpt's own name, and passes over `self_attn.attn.k_scale` with a warning, whose cache
then has the scale 1.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import safe_open

from lanekit.files.finite_weights import check_written_model
from lanekit.files.model_folder import (
    carry_files,
    list_weight_files,
    measure_weights,
    read_config,
    write_json,
)
from lanekit.spec.quantization import Fp8Params
from quantizer.saving import BadCheckpointError, save_packed

LARGEST = torch.finfo(torch.float8_e4m3fn).max
LEGACY_CONFIG = "hf_quant_config.json"
FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
_KV_SCALE = re.compile(r"\.self_attn\.[kv]_scale$")


def save_modelopt(model: Any, source: Path, out: Path, spec: Fp8Params, remedy: str) -> dict[str, Any]:
    """Save a calibrated model; check it; return sizes for the report.

    Args:
        source: the dense model's folder, whose weights are rounded here.
        remedy: what to change where scales or weights are not finite.

    Raises:
        InputError: a tied head has come apart, or was written twice.
        NonFiniteWeightsError: a tensor holds NaN or infinity.
        BadCheckpointError: a scale is missing, or is not above 0.
    """
    with tempfile.TemporaryDirectory(dir=out, prefix=".calibrated-") as folder:
        calibrated = Path(folder)
        save_packed(model, source, calibrated, remedy)
        config, packed = read_config(calibrated), read_tensors(calibrated)
        tensors = convert_tensors(packed, read_tensors(source))
    left_out = [str(name) for name in config["quantization_config"].get("ignore") or ()]
    with_kv_scales = spec.kv_cache == "fp8"
    check_scales(tensors, n_layers=int(config["num_hidden_layers"]) if with_kv_scales else 0)
    section = describe_format(left_out, with_kv_scales=with_kv_scales)
    save_torch_state_dict(tensors, out, metadata={"format": "pt"})
    write_json(out / "config.json", {**config, "quantization_config": section})
    write_json(out / LEGACY_CONFIG, describe_legacy(section))
    carry_files(source, out)
    written = check_written_model(out, remedy)
    return {
        "weights_bytes_before": measure_weights(source),
        "weights_bytes_after": measure_weights(out),
        "format": "modelopt",
        "tensors": sum(len(header.tensors) for header in written.headers.values()),
    }


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a model folder."""
    tensors: dict[str, torch.Tensor] = {}
    for path in list_weight_files(folder):
        with safe_open(path, framework="pt") as stored:
            tensors |= {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
    return tensors


def convert_tensors(
    packed: Mapping[str, torch.Tensor], dense: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return ModelOpt's tensors from those of a calibrated compressed-tensors folder and the dense model's.

    Of the packed ones the activations' and the cache's scales are kept; weights are rounded anew.
    """
    quantized = [name.removesuffix(".weight_scale") for name in packed if name.endswith(".weight_scale")]
    scales = share_scales({name: dense[f"{name}.weight"] for name in quantized})
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in packed.items():
        module, _, kind = name.rpartition(".")
        if kind == "weight_scale":
            tensors[name] = scales[module]
        elif kind == "weight" and module in scales:
            tensors[name] = round_weight(dense[name], scales[module])
        elif kind == "input_scale" or _KV_SCALE.search(name):
            tensors[name] = tensor.float().reshape(())
        elif not kind.endswith("zero_point"):
            tensors[name] = tensor
    return tensors


def share_scales(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return each linear's scale: its largest magnitude, or that of the group it is fused with, over 448."""
    largest = {name: weight.float().abs().max() for name, weight in weights.items()}
    scales = {}
    for name in largest:
        parent, _, own = name.rpartition(".")
        group = next((group for group in FUSED if own in group), (own,))
        members = [largest[f"{parent}.{part}"] for part in group if f"{parent}.{part}" in largest]
        # A layer of zeros has the scale 1: none is 0.
        scale = torch.stack(members).max() / LARGEST
        scales[name] = torch.where(scale > 0, scale, torch.ones_like(scale))
    return scales


def round_weight(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return a weight on the grid of e4m3, which does not saturate by itself."""
    return (weight.float() / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)


def check_scales(tensors: Mapping[str, torch.Tensor], n_layers: int) -> None:
    """Refuse scales that are not above 0, and a layer without its KV scales.

    Args:
        n_layers: how many layers are to have KV scales; 0 for none.

    Raises:
        BadCheckpointError: names the tensors.
    """
    bad = [name for name, tensor in tensors.items() if name.endswith("_scale") and not bool(tensor > 0)]
    found = sum(bool(_KV_SCALE.search(name)) for name in tensors)
    if bad or found != 2 * n_layers:
        said = f"scales that are not above 0: {', '.join(bad[:3])}" if bad else f"{found} KV scales"
        raise BadCheckpointError(
            f"the calibration left {said}; each of {n_layers} layers is to have two",
            remedy="raise calibration_rows: no row of the calibration set may have reached these layers",
        )


def describe_format(left_out: Sequence[str], *, with_kv_scales: bool) -> dict[str, Any]:
    """Return config.json's section. vLLM reads `ignore` there, and `exclude_modules` in the other file."""
    section: dict[str, Any] = {"quant_method": "modelopt", "quant_algo": "FP8"}
    if with_kv_scales:
        section["kv_cache_quant_algo"] = "FP8"
    return {**section, "ignore": list(left_out), "exclude_modules": list(left_out)}


def describe_legacy(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return hf_quant_config.json's content for config.json's section."""
    return {
        "producer": {"name": "lanekit"},
        "quantization": {
            "quant_algo": section["quant_algo"],
            "kv_cache_quant_algo": section.get("kv_cache_quant_algo"),
            "exclude_modules": section["exclude_modules"],
        },
    }
