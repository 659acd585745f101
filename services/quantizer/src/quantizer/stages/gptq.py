"""GPTQ through llmcompressor into a compressed-tensors preset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from llmcompressor.modifiers.quantization import GPTQModifier

from lanekit.files.finite_weights import NonFiniteWeightsError
from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.quantization import GptqParams
from quantizer.calibrated import calibrate, name_some
from quantizer.layers import choose_ignored, report_kept
from quantizer.loading import load_calibration_set, load_for_quantization
from quantizer.recording import record_layer_errors
from quantizer.saving import save_packed

RAISE_DAMPENING = (
    "raise dampening for this stage in the lane file: a layer's Hessian could not be inverted well"
)


def run(spec: GptqParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Quantize every linear layer outside `ignore` and `keep`.

    Raises:
        InputError: the model is quantized already, a width does not divide by the group size, or a kept
            layer is not there or no budget fits.
        BadCheckpointError: the result is not what the scheme promises.
        NonFiniteWeightsError: a scale or weight is not finite.
    """
    model, tokenizer = load_for_quantization(inputs["model"], spec)
    kept, ignored = choose_ignored(model, spec, inputs)
    calibration = load_calibration_set(tokenizer, inputs["corpus"], spec)
    linears = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not any(name.endswith(i) for i in ignored)
    ]
    progress(0, len(linears), "; ".join(["calibrating", *calibration.notes]))
    modifier = GPTQModifier(
        targets="Linear",
        scheme=spec.scheme,
        ignore=ignored,
        dampening_frac=spec.dampening,
        block_size=spec.block_size,
        actorder=None if spec.actorder == "none" else spec.actorder,
    )
    with record_layer_errors(model, len(linears), progress) as errors:
        calibrate(model, tokenizer, modifier, calibration, spec)
    check_errors(errors)
    sizes = save_packed(model, inputs["model"], out, RAISE_DAMPENING)
    write_report(
        out,
        scheme=spec.scheme,
        dampening=spec.dampening,
        notes=calibration.notes,
        **calibration.report,
        layer_errors=errors,
        **sizes,
        **report_kept(kept),
    )


def check_errors(errors: Mapping[str, float]) -> None:
    """Refuse a result where GPTQ's own error of a layer is not finite.

    Raises:
        NonFiniteWeightsError: names the layers.
    """
    bad = [name for name, error in errors.items() if not math.isfinite(error)]
    if bad:
        raise NonFiniteWeightsError(f"GPTQ's error is not finite at {name_some(bad)}", remedy=RAISE_DAMPENING)
