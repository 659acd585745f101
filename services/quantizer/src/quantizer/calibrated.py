"""One pass of llmcompressor over the calibration set, as every calibrated stage wants it."""

from __future__ import annotations

from typing import Any

from llmcompressor import oneshot

from lanekit.spec.quantization import QuantizeParams
from quantizer.loading import CalibrationSet


def calibrate(
    model: Any, tokenizer: Any, modifier: Any, calibration: CalibrationSet, spec: QuantizeParams
) -> None:
    """Run a modifier over every row, in the order in which the rows stand."""
    oneshot(
        model=model,
        processor=tokenizer,
        dataset=calibration.sequences,
        recipe=modifier,
        num_calibration_samples=len(calibration.sequences),
        max_seq_length=spec.max_length,
        shuffle_calibration_samples=False,
    )
