"""Saving a quantized model and checking what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lanekit.errors import LanekitError
from lanekit.modelfiles import carry_files, list_weight_files, measure_weights, read_config
from lanekit.safetensors_header import check_model_folder, read_header


class BadCheckpointError(LanekitError):
    """The written checkpoint is not what the scheme promises."""


def save_packed(model: Any, source: Path, out: Path) -> dict[str, Any]:
    """Save compressed, with the source's tokenizer and licence; return sizes for the report.

    Raises:
        BadCheckpointError: a tied head was written twice, or the config has no quantization.
    """
    model.config.use_cache = True
    model.save_pretrained(out, save_compressed=True)
    carry_files(source, out)
    check_model_folder(out)
    config = read_config(out)
    names = [name for path in list_weight_files(out) for name in read_header(path).tensors]
    if config.get("tie_word_embeddings") and "lm_head.weight" in names:
        raise BadCheckpointError(f"{out}: lm_head.weight is stored although it is tied to the embedding")
    if "quantization_config" not in config:
        raise BadCheckpointError(f"{out}: config.json says nothing of a quantization")
    return {
        "weights_bytes_before": measure_weights(source),
        "weights_bytes_after": measure_weights(out),
        "format": config["quantization_config"].get("format"),
        "tensors": len(names),
    }
