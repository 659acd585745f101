"""FP8 through llmcompressor: dynamic (no data) or static (calibrated activation scales)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier

from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.params import Fp8Params
from quantizer.loading import load_calibration_set, load_for_quantization
from quantizer.saving import save_packed


def run(spec: Fp8Params, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Quantize every linear layer outside `ignore`.

    Raises:
        InputError: the model is quantized already.
        BadCheckpointError: the result is not what the scheme promises.
    """
    model, tokenizer = load_for_quantization(inputs["model"], spec)
    modifier = QuantizationModifier(targets="Linear", scheme=spec.scheme, ignore=list(spec.ignore))
    options: dict[str, Any] = {}
    if "corpus" in inputs:
        dataset = load_calibration_set(tokenizer, inputs["corpus"], spec)
        options = {
            "dataset": dataset,
            "num_calibration_samples": len(dataset),
            "max_seq_length": spec.max_length,
            "shuffle_calibration_samples": False,
        }
    progress(0, 2, f"quantizing to {spec.scheme}")
    oneshot(model=model, processor=tokenizer, recipe=modifier, **options)
    progress(1, 2, "saving")
    sizes = save_packed(model, inputs["model"], out)
    write_report(
        out,
        scheme=spec.scheme,
        calibration_sequences=len(options["dataset"]) if options else 0,
        **sizes,
    )
