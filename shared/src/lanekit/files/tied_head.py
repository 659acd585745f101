"""An output head that shares its weights with the embedding: kept one in memory, stored once. No torch."""

from __future__ import annotations

from typing import Any

from lanekit.errors import InputError
from lanekit.files.safetensors_header import ModelFolder

HEAD_NAME = "lm_head.weight"
REMEDY = (
    "make the model again with the locks' versions of llmcompressor, compressed-tensors, accelerate and "
    "transformers (scripts/00_setup_check.py names those that differ); a head with weights of its own wants "
    "tie_word_embeddings: false in config.json"
)


def restore_tied_head(model: Any) -> bool:
    """Make a tied head and the embedding one parameter again, before a model is saved.

    llmcompressor's sequential pipeline, the one with calibration data, off-loads every module on CUDA
    (`compressed_tensors.utils.offloaded_dispatch`). When the dispatch is removed, each module gets a
    parameter of its own: head and embedding are then two, and both would be stored.

    Args:
        model: a transformers model in memory, dense or quantized.

    Returns:
        Whether they were two.

    Raises:
        InputError: they are tied by the configuration and hold different values.
    """
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if not getattr(model.config, "tie_word_embeddings", False) or head is None:
        return False
    if head.weight is table.weight:
        return False
    if head.weight.shape != table.weight.shape or not bool((head.weight == table.weight).all()):
        raise InputError(
            f"{HEAD_NAME} is tied to the embedding by the model's configuration, and no longer equals it",
            remedy="keep lm_head in the stage's `ignore`, or untie the base model: "
            "tie_word_embeddings: false",
        )
    model.tie_weights()
    return True


def check_tied_head(model: ModelFolder) -> None:
    """Refuse an output head that is stored although the configuration ties it to the embedding.

    The copy costs 0.4 GB at EXAONE-4.0-1.2B's size and may never be read.

    Raises:
        InputError: `lm_head.weight` stands in a file of a tied model.
    """
    if not model.config.get("tie_word_embeddings"):
        return
    for name, header in model.headers.items():
        if HEAD_NAME in header.tensors:
            raise InputError(
                f"{model.path / name}: holds {HEAD_NAME} ({header.tensors[HEAD_NAME].size_bytes} bytes) "
                "although config.json has tie_word_embeddings: true",
                remedy=REMEDY,
            )
