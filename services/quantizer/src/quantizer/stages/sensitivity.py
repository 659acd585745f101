"""What it costs to quantize each decoder layer alone: the logits' distance from the dense model's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.quantization import disable_quantization, enable_quantization
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from torch.nn import functional

from lanekit.errors import InputError
from lanekit.files.conversations import encode_corpus
from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.quantization import SensitivityParams
from quantizer.layers import LAYERS_NAME, LayerCost, LayerCosts, find_layer
from quantizer.loading import check_group_size, find_group_size, load_for_quantization

# Static scales of activations need a calibration of their own; those of each token stand for them.
STAND_INS = {"FP8": "FP8_DYNAMIC"}
SCALE_BYTES = 2
BATCH_TOKENS = 2048  # whose logits are there three times at once, in float32: 2.5 GB for 102,400 entries


def run(spec: SensitivityParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Round one layer at a time, weights and activations as the scheme has them, and ask for the logits.

    A layer's cost is the mean over tokens of the Kullback-Leibler divergence of the next token's distribution
    from the dense model's, in nats.

    Raises:
        InputError: the model is quantized already, a width does not divide by the group size, no calibration
            row fits, or a layer's divergence is not finite.
    """
    model, tokenizer = load_for_quantization(inputs["model"], spec)
    scheme = STAND_INS.get(spec.scheme, spec.scheme)
    group_size = find_group_size(scheme)
    if group_size:
        check_group_size(model, group_size, spec.ignore)
    path = inputs["corpus"] / "calibration.jsonl"
    encoded = encode_corpus(tokenizer, path, spec.max_length, spec.rows, last_answers=True)
    if not torch.cuda.is_available():
        model.float()  # a processor without instructions for bfloat16 is many times slower with it
    oneshot(
        model=model, recipe=QuantizationModifier(targets="Linear", scheme=scheme, ignore=list(spec.ignore))
    )
    layers = _group_linears(model)
    rows = [sample["input_ids"] for sample in encoded.samples]
    divergences = measure_divergences(model.eval(), layers, rows, progress)
    costs = LayerCosts(
        scheme=spec.scheme,
        layers=tuple(
            LayerCost(layer=number, kl=divergences[number], extra_bytes=_count_extra_bytes(linears))
            for number, linears in layers.items()
        ),
    )
    (out / LAYERS_NAME).write_text(costs.model_dump_json(indent=1) + "\n", encoding="utf-8")
    write_report(
        out,
        scheme=spec.scheme,
        measured_as=scheme,
        kl_by_layer={str(cost.layer): cost.kl for cost in costs.layers},
        notes=encoded.describe_calibration(spec.rows),
        **encoded.report_calibration(spec.rows),
    )


def _group_linears(model: Any) -> dict[int, list[Any]]:
    """Return the linears that are quantized, by the number of their decoder layer."""
    layers: dict[int, list[Any]] = {}
    for name, module in model.named_modules():
        number = find_layer(name)
        if number is not None and getattr(module, "quantization_scheme", None) is not None:
            layers.setdefault(number, []).append(module)
    return dict(sorted(layers.items()))


@torch.inference_mode()
def measure_divergences(
    model: Any, layers: Mapping[int, Sequence[Any]], rows: Sequence[Sequence[int]], progress: Progress
) -> dict[int, float]:
    """Return each layer's mean divergence over the rows' tokens.

    Raises:
        InputError: one is not finite.
    """
    sums = dict.fromkeys(layers, 0.0)
    model.apply(disable_quantization)
    batches = batch_rows(rows)
    for done, batch in enumerate(batches):
        width = max(map(len, batch))
        # Filled up behind, where no token of a row looks.
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in batch], device=model.device)
        is_token = torch.tensor([[i < len(row) for i in range(width)] for row in batch], device=model.device)
        dense = _read_log_probabilities(model, ids, is_token)
        for tried, (number, linears) in enumerate(layers.items()):
            step = done * len(layers) + tried
            progress(step, len(batches) * len(layers), "measuring what each layer costs")
            for linear in linears:
                enable_quantization(linear)
            moved = _read_log_probabilities(model, ids, is_token)
            sums[number] += float(functional.kl_div(moved, dense, reduction="sum", log_target=True))
            for linear in linears:
                disable_quantization(linear)
    n_tokens = sum(map(len, rows))
    bad = [str(number) for number, value in sums.items() if not math.isfinite(value)]
    if bad:
        raise InputError(
            f"the divergence of the layers {', '.join(bad)} is not finite: the model's logits are not",
            remedy="check the model that is quantized, or name the layers: keep: {layers: [0, 1]}",
        )
    return {number: value / n_tokens for number, value in sums.items()}


def batch_rows(rows: Sequence[Sequence[int]], limit: int = BATCH_TOKENS) -> list[list[Sequence[int]]]:
    """Return the rows in batches of like length: of one row, or of at most `limit` tokens once filled up."""
    batches: list[list[Sequence[int]]] = []
    for row in sorted(rows, key=len, reverse=True):
        if not batches or (len(batches[-1]) + 1) * len(batches[-1][0]) > limit:
            batches.append([])
        batches[-1].append(row)
    return batches


def _read_log_probabilities(model: Any, ids: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor:
    """Return the next token's log-probabilities behind each token that is a row's own."""
    return functional.log_softmax(model(ids, use_cache=False).logits[is_token].float(), dim=-1)


def _count_extra_bytes(linears: Sequence[Any]) -> int:
    """Return by how much a package grows where these linears stay as they are."""
    extra = 0
    for linear in linears:
        args, weight = linear.quantization_scheme.weights, linear.weight
        n_scales = weight.shape[0] * max(1, weight.shape[1] // (args.group_size or weight.shape[1]))
        packed = weight.numel() * args.num_bits // 8 + n_scales * SCALE_BYTES
        extra += weight.numel() * weight.element_size() - packed
    return extra
