"""Packed (compressed-tensors) checkpoints: dense copies to train on, and exact rewriting of a few tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig

from lanekit.errors import PermanentError
from lanekit.files.model_folder import list_weight_files, read_config


class TensorsChangedError(PermanentError):
    """A tensor that had to stay as it was did not."""


def load_as_dense(folder: Path, device: torch.device) -> Any:
    """Return a plain float32 model with a checkpoint's weights, unpacked by compressed-tensors.

    Nothing of the quantization stays on it, so it can run forward and backward without touching the
    packed tensors; it is never saved.
    """
    quantized = "quantization_config" in read_config(folder)
    options = {"quantization_config": CompressedTensorsConfig(run_compressed=False)} if quantized else {}
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    config = AutoConfig.from_pretrained(folder)
    if quantized:
        del config.quantization_config
    config.use_cache = False
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    weights = {name: tensor.detach().float() for name, tensor in loaded.state_dict().items()}
    wanted = set(model.state_dict())
    missing = wanted - set(weights)
    if missing:
        raise TensorsChangedError(f"{folder}: unpacking gave no {', '.join(sorted(missing)[:3])}")
    model.load_state_dict({name: weights[name] for name in wanted})
    return model.to(device)


def hash_tensors(folder: Path) -> dict[str, str]:
    """Return the sha256 over dtype, shape and bytes of every stored tensor."""
    digests: dict[str, str] = {}
    for path in list_weight_files(folder):
        with safe_open(path, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                tensor = stored.get_tensor(name)
                digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
                digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
                digests[name] = digest.hexdigest()
    return digests


def read_tensors(folder: Path, names: Collection[str]) -> dict[str, torch.Tensor]:
    """Return those of the named tensors that are stored, in their stored dtype."""
    found: dict[str, torch.Tensor] = {}
    for path in list_weight_files(folder):
        with safe_open(path, framework="pt") as stored:
            found |= {name: stored.get_tensor(name) for name in stored.keys() if name in names}  # noqa: SIM118
    return found


def rewrite_tensors(source: Path, out: Path, replaced: dict[str, torch.Tensor]) -> None:
    """Copy each weight file with the tensors of `replaced` put in, cast to their stored dtype."""
    for path in list_weight_files(source):
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
            tensors = {}
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                tensor = stored.get_tensor(name)
                if name in replaced:
                    tensor = replaced[name].detach().cpu().to(tensor.dtype).contiguous()
                tensors[name] = tensor
        save_file(tensors, out / path.name, metadata=metadata)


def compare_tensors(before: dict[str, str], after: dict[str, str], may_change: set[str]) -> list[str]:
    """Return the names that changed.

    Raises:
        TensorsChangedError: a name appeared or vanished, or one outside `may_change` changed.
    """
    if set(before) != set(after):
        raise TensorsChangedError(f"tensors came or went: {sorted(set(before) ^ set(after))[:5]}")
    changed = [name for name in before if before[name] != after[name]]
    forbidden = [name for name in changed if name not in may_change]
    if forbidden:
        raise TensorsChangedError(f"tensors changed that must not: {', '.join(forbidden[:5])}")
    return changed
