"""Smoothing of a decoder without norms before attention and MLP: exact, before any quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from lanekit.files.conversations import encode_corpus
from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.params import SmoothParams
from trainer.models.dense import choose_device, load_dense, load_tokenizer, read_stored_dtype, save_dense
from trainer.models.smoothed import (
    check_layout,
    find_scales,
    measure_inputs,
    measure_spread,
    smooth_model,
)

LOWER_STRENGTH = "lower strength of 'smooth' in the lane file: scaled weights leave the range of their dtype"


def run(spec: SmoothParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Measure the linears' inputs on the calibration set, smooth the weights and save.

    Raises:
        InputError: the model is not dense, has norms before its linears, or no row fits.
        NonFiniteWeightsError: scaled weights leave the range of the stored dtype.
    """
    device = choose_device(spec.device)
    stored = read_stored_dtype(inputs["model"])
    model = load_dense(inputs["model"], device, stored if device.type == "cuda" else torch.float32).eval()
    check_layout(model)
    calibration = encode_corpus(
        load_tokenizer(inputs["model"]), inputs["corpus"] / "calibration.jsonl", spec.max_length,
        spec.calibration_rows, last_answers=True,
    )  # fmt: skip
    notes = calibration.describe_calibration(spec.calibration_rows)
    measured = measure_inputs(model, calibration.samples, device, progress)
    smoothing = find_scales(model, measured, spec.strength, power_of_two=spec.power_of_two)
    spread_before, spread_after = measure_spread(measured, smoothing)
    n_lost = smooth_model(model, smoothing, stored)
    if spec.power_of_two and n_lost:
        notes.append(f"smoothing: {n_lost} weights left the range of {stored} and lost bits")
    save_dense(model, inputs["model"], out, LOWER_STRENGTH)
    octaves = smoothing.stream.log2()
    write_report(
        out,
        notes=notes,
        strength=spec.strength,
        power_of_two=spec.power_of_two,
        stream_octaves={"lowest": float(octaves.min()), "highest": float(octaves.max())},
        logits_factor={
            "mean": smoothing.factor.mean,
            "lowest": smoothing.factor.lowest,
            "highest": smoothing.factor.highest,
        },
        input_spread_before=spread_before,
        input_spread_after=spread_after,
        **({"weights_that_lost_bits": n_lost} if spec.power_of_two else {}),
        **calibration.report_calibration(spec.calibration_rows),
    )
