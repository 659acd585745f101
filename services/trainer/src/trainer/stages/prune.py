"""Depth pruning: drop whole decoder layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lanekit.errors import InputError
from lanekit.files.conversations import encode_corpus
from lanekit.files.model_folder import read_config, write_report
from lanekit.progress import Progress
from lanekit.spec.params import PruneParams
from trainer.models.dense import choose_device, load_dense, load_tokenizer, save_dense

# Pruning computes no weight anew: one can only have left the range of the dtype that it is stored in.
UNFIT_DTYPE = "let the dtype in the pruned model's config.json hold its weights: bfloat16, not float16"


def run(spec: PruneParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Choose the layers to drop, drop them and save.

    Raises:
        InputError: `keep_layers` is not below the model's number of layers.
    """
    n_layers = int(read_config(inputs["model"])["num_hidden_layers"])
    check_keep_layers(spec.keep_layers, n_layers)
    device = choose_device(spec.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = load_dense(inputs["model"], device, dtype).eval()
    n_dropped = n_layers - spec.keep_layers
    influence: list[float] = []
    data: dict[str, Any] = {}
    if spec.selection == "block_influence":
        calibration = encode_corpus(
            load_tokenizer(inputs["model"]), inputs["corpus"] / "calibration.jsonl", spec.max_length,
            spec.calibration_rows, last_answers=True,
        )  # fmt: skip
        asked = spec.calibration_rows
        notes = calibration.describe_calibration(asked)
        data = {**calibration.report_calibration(asked), "notes": notes}
        influence = measure_block_influence(model, calibration.samples, device, progress)
        order = sorted(range(n_layers), key=lambda i: influence[i])
        dropped = sorted(order[:n_dropped])
    else:
        dropped = list(range(n_layers - 1 - n_dropped, n_layers - 1))
    drop_layers(model, dropped)
    save_dense(model, inputs["model"], out, UNFIT_DTYPE)
    write_report(
        out,
        layers_before=n_layers,
        layers_after=spec.keep_layers,
        dropped_layers=dropped,
        selection=spec.selection,
        block_influence=influence,
        **data,
    )


def check_keep_layers(keep_layers: int, n_layers: int) -> None:
    """Refuse to keep as many layers as there are, or more."""
    if keep_layers >= n_layers:
        raise InputError(
            f"keep_layers is {keep_layers}, but the model has {n_layers} layers",
            remedy=f"set keep_layers to at most {n_layers - 1} in the lane file",
        )


@torch.inference_mode()
def measure_block_influence(
    model: Any, samples: Sequence[Mapping[str, list[int]]], device: torch.device, progress: Progress
) -> list[float]:
    """Return 1 − mean cos(input, output) of each layer's residual stream (ShortGPT, Men et al. 2024).

    Raises:
        InputError: it is not finite at a layer: the model's activations are not.
    """
    n_layers = len(model.model.layers)
    sums, n_tokens = torch.zeros(n_layers, dtype=torch.float64), 0
    states: list[torch.Tensor] = []
    watched = [*model.model.layers, model.model.norm]
    hooks = [module.register_forward_pre_hook(lambda _, args: states.append(args[0])) for module in watched]
    try:
        for number, sample in enumerate(samples):
            progress(number, len(samples), "measuring each layer's influence")
            states.clear()
            model(torch.tensor([sample["input_ids"]], device=device), use_cache=False)
            for index in range(n_layers):
                before, after = states[index].float(), states[index + 1].float()
                cosine = nn.functional.cosine_similarity(before, after, dim=-1)
                sums[index] += (1 - cosine).double().sum().cpu()
            n_tokens += len(sample["input_ids"])
    finally:
        for hook in hooks:
            hook.remove()
    influence = [float(value) / n_tokens for value in sums]
    bad = [str(index) for index, value in enumerate(influence) if not math.isfinite(value)]
    if bad:
        raise InputError(
            f"the influence of the layers {', '.join(bad)} is not finite: the model's activations are not",
            remedy="check the model that is pruned, or set selection: deepest, which looks at no activations",
        )
    return influence


def drop_layers(model: Any, dropped: list[int]) -> None:
    """Remove layers in place; renumber the rest and shorten `layer_types`, or caches and masks break."""
    kept = [i for i in range(len(model.model.layers)) if i not in set(dropped)]
    model.model.layers = nn.ModuleList([model.model.layers[i] for i in kept])
    for index, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = index
        if hasattr(layer, "layer_idx"):
            layer.layer_idx = index
    config = model.config
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in kept]
    config.num_hidden_layers = len(kept)
