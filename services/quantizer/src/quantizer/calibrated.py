"""One pass of llmcompressor over the calibration set, as every calibrated stage wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmcompressor import oneshot

from lanekit.spec.quantization import QuantizeParams
from quantizer.loading import CalibrationSet

NAMED = 3


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


def name_some(modules: Sequence[str]) -> str:
    """Return the first of some modules by name, and how many more they are."""
    more = f" and {len(modules) - NAMED} more" if len(modules) > NAMED else ""
    return f"{', '.join(modules[:NAMED])}{more}"
