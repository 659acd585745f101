"""ModelOpt's FP8 format for the transformers engine: transformers itself does not know it.

The model is the dense one with the weights that the format's codes stand for. What a linear reads, and what
enters the KV cache where the package asks for an FP8 one, is rounded to e4m3 with the package's own scales by
compressed-tensors: the values that vLLM computes with, in the dtype of the engine. No speed of it says
anything of FP8.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationStatus,
    apply_quantization_config,
    preset_name_to_scheme,
)
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from lanekit.errors import InputError
from lanekit.files.model_folder import list_weight_files

METHOD, ALGORITHM = "modelopt", "FP8"
_SCALES = (".weight_scale", ".input_scale", ".k_scale", ".v_scale")


def load_modelopt(
    folder: Path, config: Any, section: Mapping[str, Any], dtype: torch.dtype
) -> tuple[Any, dict[str, list[str]]]:
    """Return the model and what of its tensors is missing, left over or of another shape.

    Args:
        config: the model's configuration; its quantization section is taken off it.
        section: that section.

    Raises:
        InputError: it is another algorithm of ModelOpt's.
    """
    kv_algorithm = section.get("kv_cache_quant_algo")
    if section.get("quant_algo") != ALGORITHM or kv_algorithm not in (None, ALGORITHM):
        raise InputError(
            f"{folder}: quant_algo {section.get('quant_algo')}, kv_cache_quant_algo {kv_algorithm}: of "
            f"ModelOpt's formats the transformers engine reads {ALGORITHM} alone",
            remedy="use the engine vllm",
        )
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    stored = _read_tensors(folder)
    model.load_state_dict(dense := _decode(stored, dtype), strict=False)
    model.tie_weights()
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if config.tie_word_embeddings else set()
    apply_quantization_config(model, _describe(section))
    scales = {name: tensor for name, tensor in stored.items() if name.endswith(_SCALES)}
    lacking, left_over = _set_scales(model, scales)
    return model, {
        "missing_keys": [*(set(wanted) - set(dense) - tied), *lacking],
        "unexpected_keys": [*(set(dense) - set(wanted)), *left_over],
        "mismatched_keys": [
            name for name in dense if dense[name].shape != wanted.get(name, dense[name].shape)
        ],
    }


def _read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for path in list_weight_files(folder):
        with safe_open(path, framework="pt") as stored:
            tensors |= {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
    return tensors


def _decode(stored: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the weights that the codes stand for, and all that is not quantized."""
    weights = {}
    for name, tensor in stored.items():
        if name.endswith(_SCALES):
            continue
        scale = stored.get(f"{name}_scale")
        weights[name] = (tensor.float() if scale is None else tensor.float() * scale.float()).to(dtype)
    return weights


def _describe(section: Mapping[str, Any]) -> QuantizationConfig:
    """Return the format as compressed-tensors names it."""
    cache = QuantizationArgs(num_bits=8, type="float", strategy="tensor", dynamic=False)
    return QuantizationConfig(
        config_groups={"group_0": preset_name_to_scheme("FP8", ["Linear"])},
        ignore=[*section.get("ignore", ())],
        kv_cache_scheme=cache if section.get("kv_cache_quant_algo") else None,
        quantization_status=QuantizationStatus.FROZEN,
    )


def _set_scales(model: Any, scales: Mapping[str, torch.Tensor]) -> tuple[list[str], list[str]]:
    """Put the scales into the model; return the names of those that lack, and of those that nothing wants."""
    slots = {name: slot for name, slot in model.named_parameters() if name.endswith(_SCALES)}
    for name in slots.keys() & scales.keys():
        slots[name].data = scales[name].float().reshape(slots[name].shape)
    return sorted(slots.keys() - scales.keys()), sorted(scales.keys() - slots.keys())
