"""Calibration rows joined into blocks of one length, for a method that trains on batches of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from datasets import Dataset

from lanekit.errors import InputError
from quantizer.loading import CalibrationSet


@dataclass(frozen=True)
class Blocks:
    """Blocks of equal length, and how many tokens at the end filled none."""

    calibration: CalibrationSet
    tokens_left_out: int


def join_rows(calibration: CalibrationSet, length: int, batch_size: int) -> Blocks:
    """Return the rows, one after the other, cut into blocks of `length` tokens.

    The last block is left out where it would stand alone in its batch, which auto-round 0.9.2 cannot read.

    Raises:
        InputError: there are not two blocks.
    """
    tokens = [token for row in calibration.sequences for token in row["input_ids"]]
    count = len(tokens) // length
    if count > 1 and count % batch_size == 1:
        count -= 1
    if count < 2:
        raise InputError(
            f"the calibration rows hold {len(tokens)} tokens: not two blocks of max_length {length}",
            remedy="raise calibration_rows of this stage, or lower its max_length",
        )
    blocks = [tokens[start : start + length] for start in range(0, count * length, length)]
    sequences = Dataset.from_list([{"input_ids": b, "attention_mask": [1] * length} for b in blocks])
    return Blocks(replace(calibration, sequences=sequences), len(tokens) - count * length)
