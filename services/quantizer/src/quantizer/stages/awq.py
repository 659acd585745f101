"""AWQ through llmcompressor: channels that activations make important are scaled up before rounding.

Lin et al. 2023, "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration",
arXiv:2306.00978. For each pair of layers the scales that lose least are searched on a grid; the layer before
takes them back, so that the model is the same but for the rounding. EXAONE-4 has no norm before its linear
layers: v_proj with o_proj and up_proj with down_proj are the pairs, and with grouped-query attention, where
v_proj is narrower than o_proj, the second alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llmcompressor.modifiers.awq import AWQModifier

from lanekit.errors import InputError
from lanekit.files.finite_weights import NonFiniteWeightsError
from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.quantization import AwqParams
from quantizer.awq_recording import AwqRecord, record_awq
from quantizer.calibrated import calibrate, name_some
from quantizer.layers import choose_ignored, report_kept
from quantizer.loading import load_calibration_set, load_for_quantization
from quantizer.saving import save_packed

OTHER_ROWS = "take other calibration rows, or gptq: activations of these are not finite"


def run(spec: AwqParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Quantize every linear layer outside `ignore` and `keep`.

    Raises:
        InputError: the model is quantized already, a width does not divide by the group size, or no two
            layers of the model are a pair that can be scaled.
        BadCheckpointError: the result is not what the scheme promises.
        NonFiniteWeightsError: a scale, weight or activation is not finite.
    """
    model, tokenizer = load_for_quantization(inputs["model"], spec)
    kept, ignored = choose_ignored(model, spec, inputs)
    calibration = load_calibration_set(tokenizer, inputs["corpus"], spec)
    progress(0, 1, "; ".join(["calibrating", *calibration.notes]))
    modifier = AWQModifier(targets="Linear", scheme=spec.scheme, ignore=ignored, n_grid=spec.grid_points)
    with record_awq(progress) as record:
        calibrate(model, tokenizer, modifier, calibration, spec)
    check_pairs(record, inputs["model"])
    sizes = save_packed(model, inputs["model"], out, OTHER_ROWS)
    write_report(
        out,
        scheme=spec.scheme,
        grid_points=spec.grid_points,
        notes=calibration.notes,
        **calibration.report,
        pair_errors=record.errors,
        **sizes,
        **report_kept(kept),
    )


def check_pairs(record: AwqRecord, folder: Path) -> None:
    """Refuse a result in which a pair was passed over: it would be rounding, under AWQ's name.

    Raises:
        InputError: the model has no pair.
        NonFiniteWeightsError: names the pairs for which no scales were found.
    """
    if not record.pairs:
        raise InputError(
            f"{folder}: AWQ finds no two layers that it could scale", remedy="use gptq for this model"
        )
    missing = [name for name in record.pairs if name not in record.errors]
    if missing:
        raise NonFiniteWeightsError(
            f"AWQ found no scales at {name_some(missing)}: activations there are not finite",
            remedy=OTHER_ROWS,
        )
