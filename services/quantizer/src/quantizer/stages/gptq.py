"""GPTQ through llmcompressor into a compressed-tensors preset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from compressed_tensors.quantization import preset_name_to_scheme
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import GPTQModifier

from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.params import GptqParams
from quantizer.loading import check_group_size, load_calibration_set, load_for_quantization
from quantizer.recording import record_layer_errors
from quantizer.saving import save_packed


def run(spec: GptqParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Quantize every linear layer outside `ignore`.

    Raises:
        InputError: the model is quantized already, or a width does not divide by the group size.
        BadCheckpointError: the result is not what the scheme promises.
    """
    model, tokenizer = load_for_quantization(inputs["model"], spec)
    weights = preset_name_to_scheme(spec.scheme, ["Linear"]).weights
    if weights is not None and weights.group_size and weights.group_size > 0:
        check_group_size(model, weights.group_size, spec.ignore)
    dataset = load_calibration_set(tokenizer, inputs["corpus"], spec)
    linears = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not any(name.endswith(i) for i in spec.ignore)
    ]
    modifier = GPTQModifier(
        targets="Linear",
        scheme=spec.scheme,
        ignore=list(spec.ignore),
        dampening_frac=spec.dampening,
        block_size=spec.block_size,
        actorder=None if spec.actorder == "none" else spec.actorder,
    )
    with record_layer_errors(model, len(linears), progress) as errors:
        oneshot(
            model=model,
            processor=tokenizer,
            dataset=dataset,
            recipe=modifier,
            num_calibration_samples=len(dataset),
            max_seq_length=spec.max_length,
            shuffle_calibration_samples=False,
        )
    sizes = save_packed(model, inputs["model"], out)
    write_report(
        out,
        scheme=spec.scheme,
        dampening=spec.dampening,
        calibration_sequences=len(dataset),
        calibration_tokens=sum(len(ids) for ids in dataset["input_ids"]),
        layer_errors=errors,
        **sizes,
    )
