"""FP8 through llmcompressor: dynamic (no data) or static (calibrated activation scales)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from compressed_tensors.quantization import QuantizationArgs
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier

from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.quantization import Fp8Params
from quantizer.calibrated import calibrate
from quantizer.layers import choose_ignored, list_left_out, report_kept
from quantizer.loading import load_calibration_set, load_for_quantization
from quantizer.modelopt import save_modelopt
from quantizer.saving import save_packed

OTHER_ROWS = "use FP8_DYNAMIC, or other calibration rows: activations of these are not finite"
OTHER_SCHEME = "take another scheme: weights of the model that was quantized leave the range of FP8"
# One scale a layer for its keys (after their norm and rotation) and one for its values, as they enter the
# cache: the largest magnitude that calibration saw, where the preset for inputs takes a moving average.
KV_CACHE = QuantizationArgs(num_bits=8, type="float", strategy="tensor", observer="static_minmax")


def run(spec: Fp8Params, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Quantize every linear layer outside `ignore` and `keep`.

    Raises:
        InputError: the model is quantized already, a kept layer is not there, or no budget fits.
        BadCheckpointError: the result is not what the scheme promises.
        NonFiniteWeightsError: a scale or weight is not finite.
    """
    model, tokenizer = load_for_quantization(inputs["model"], spec)
    kept, ignored = choose_ignored(model, spec, inputs)
    as_modelopt = spec.format == "modelopt"
    modifier = QuantizationModifier(
        targets="Linear",
        scheme=spec.scheme,
        # by full names: a pattern could leave out an attention module, whose cache has a scale all the same
        ignore=list_left_out(model, ignored) if as_modelopt else ignored,
        kv_cache_scheme=KV_CACHE if spec.kv_cache == "fp8" else None,
    )
    is_static = spec.scheme == "FP8"
    calibration = load_calibration_set(tokenizer, inputs["corpus"], spec) if is_static else None
    progress(0, 2, "; ".join([f"quantizing to {spec.scheme}", *(calibration.notes if calibration else [])]))
    if calibration:
        calibrate(model, tokenizer, modifier, calibration, spec)
    else:
        oneshot(model=model, processor=tokenizer, recipe=modifier)
    progress(1, 2, "saving")
    remedy = OTHER_ROWS if calibration else OTHER_SCHEME
    if as_modelopt:
        sizes = save_modelopt(model, inputs["model"], out, spec, remedy)
    else:
        sizes = save_packed(model, inputs["model"], out, remedy)
    write_report(
        out,
        scheme=spec.scheme,
        notes=calibration.notes if calibration else [],
        **(calibration.report if calibration else {"calibration_sequences": 0}),
        **sizes,
        **report_kept(kept),
    )
