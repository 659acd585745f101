"""Per-layer GPTQ errors and progress, recorded while llmcompressor runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llmcompressor.modifiers.quantization.gptq import base as gptq_base
from llmcompressor.utils.metric_logging import CompressionLogger

from lanekit.progress import Progress


@contextmanager
def record_layer_errors(model: Any, n_layers: int, progress: Progress) -> Iterator[dict[str, float]]:
    """Collect the squared error that GPTQ reports for each linear layer, unrounded.

    The library only logs it, rounded to two decimals; its logger class is replaced for the duration.
    """
    names = {module: name for name, module in model.named_modules()}
    errors: dict[str, float] = {}

    class RecordingLogger(CompressionLogger):
        def set_loss(self, loss: float) -> None:
            super().set_loss(loss)
            name = names[self.module]
            errors[name] = float(loss)
            progress(len(errors), n_layers, f"GPTQ {name}")

    gptq_base.CompressionLogger = RecordingLogger
    try:
        yield errors
    finally:
        gptq_base.CompressionLogger = CompressionLogger
