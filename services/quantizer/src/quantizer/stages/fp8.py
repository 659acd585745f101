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
from quantizer.loading import CalibrationSet, load_calibration_set, load_for_quantization
from quantizer.saving import save_packed

OTHER_ROWS = "use FP8_DYNAMIC, or other calibration rows: activations of these are not finite"
OTHER_SCHEME = "take another scheme: weights of the model that was quantized leave the range of FP8"


def run(spec: Fp8Params, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Quantize every linear layer outside `ignore`.

    Raises:
        InputError: the model is quantized already.
        BadCheckpointError: the result is not what the scheme promises.
        NonFiniteWeightsError: a scale or weight is not finite.
    """
    model, tokenizer = load_for_quantization(inputs["model"], spec)
    modifier = QuantizationModifier(targets="Linear", scheme=spec.scheme, ignore=list(spec.ignore))
    options: dict[str, Any] = {}
    calibration: CalibrationSet | None = None
    if "corpus" in inputs:
        calibration = load_calibration_set(tokenizer, inputs["corpus"], spec)
        options = {
            "dataset": calibration.sequences,
            "num_calibration_samples": len(calibration.sequences),
            "max_seq_length": spec.max_length,
            "shuffle_calibration_samples": False,
        }
    progress(0, 2, "; ".join([f"quantizing to {spec.scheme}", *(calibration.notes if calibration else [])]))
    oneshot(model=model, processor=tokenizer, recipe=modifier, **options)
    progress(1, 2, "saving")
    sizes = save_packed(model, inputs["model"], out, OTHER_ROWS if options else OTHER_SCHEME)
    write_report(
        out,
        scheme=spec.scheme,
        notes=calibration.notes if calibration else [],
        **(calibration.report if calibration else {"calibration_sequences": 0}),
        **sizes,
    )
