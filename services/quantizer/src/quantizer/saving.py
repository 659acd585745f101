"""Saving a quantized model and checking what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lanekit.errors import PermanentError
from lanekit.files.finite_weights import check_written_model
from lanekit.files.generation_config import without_generation_config
from lanekit.files.model_folder import carry_files, measure_weights
from lanekit.files.tied_head import restore_tied_head


class BadCheckpointError(PermanentError):
    """The written checkpoint is not what the scheme promises."""


def save_packed(model: Any, source: Path, out: Path, remedy: str) -> dict[str, Any]:
    """Save compressed, with the source's tokenizer and licence; check it; return sizes for the report.

    Args:
        remedy: what to change where scales or weights are not finite.

    Raises:
        InputError: a tied head has come apart, or was written twice.
        NonFiniteWeightsError: a tensor holds NaN or infinity.
        BadCheckpointError: the config has no quantization.
    """
    model.config.use_cache = True
    restore_tied_head(model)
    with without_generation_config(model, source):
        model.save_pretrained(out, save_compressed=True)
    carry_files(source, out)
    written = check_written_model(out, remedy)
    quantization = written.config.get("quantization_config")
    if quantization is None:
        raise BadCheckpointError(
            f"{out}: config.json says nothing of a quantization",
            remedy="report this as a bug: the quantizer ran and left no trace in the configuration",
        )
    return {
        "weights_bytes_before": measure_weights(source),
        "weights_bytes_after": measure_weights(out),
        "format": quantization.get("format"),
        "tensors": sum(len(header.tensors) for header in written.headers.values()),
    }
