"""What `compare_logits` reads of a model: how much held-out text, and how it computes."""

from __future__ import annotations

from pydantic import PositiveInt

from lanekit.spec.params import DeviceChoice, Dtype, Parameters


class ScreenSettings(Parameters):
    """How much of the corpus's validation part every model is held against the base model on.

    `max_tokens` answer tokens in all, at most `sequence_tokens` of one conversation: many conversations say
    more than long ones, since the tokens of one go wrong together. A conversation whose prompt fills
    `max_length` tokens is left out. float32 keeps the arithmetic's own rounding out of small differences.
    """

    max_tokens: PositiveInt = 8192
    sequence_tokens: PositiveInt = 256
    max_length: PositiveInt = 1024
    dtype: Dtype = "float32"


class CompareLogitsParams(ScreenSettings):
    """Compare the next-token distributions of a model and of the base model."""

    device: DeviceChoice = "auto"
