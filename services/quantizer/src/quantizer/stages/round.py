"""Rounding to nearest through llmcompressor into a compressed-tensors preset; no data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier

from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.quantization import RoundParams
from quantizer.layers import choose_ignored, report_kept
from quantizer.loading import load_for_quantization
from quantizer.saving import save_packed

OTHER_SCHEME = "take another model: weights of this one are not finite, or its scales leave their range"


def run(spec: RoundParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Round every linear layer outside `ignore` and `keep`: scales from each channel's or group's extremes.

    W8A8's activations are rounded token by token while the model runs; nothing of them is stored.

    Raises:
        InputError: the model is quantized already, a width does not divide by the group size, or a kept
            layer is not there or no budget fits.
        BadCheckpointError: the result is not what the scheme promises.
        NonFiniteWeightsError: a scale or weight is not finite.
    """
    model, tokenizer = load_for_quantization(inputs["model"], spec)
    kept, ignored = choose_ignored(model, spec, inputs)
    progress(0, 2, f"rounding to {spec.scheme}")
    modifier = QuantizationModifier(targets="Linear", scheme=spec.scheme, ignore=ignored)
    oneshot(model=model, processor=tokenizer, recipe=modifier)
    progress(1, 2, "saving")
    sizes = save_packed(model, inputs["model"], out, OTHER_SCHEME)
    write_report(out, scheme=spec.scheme, calibration_sequences=0, **sizes, **report_kept(kept))
