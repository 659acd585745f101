"""How much memory a decode step must read: every weight once, whatever the batch. Pure."""

from __future__ import annotations

from lanekit.files.safetensors_header import DTYPE_BITS, ModelFolder, TensorInfo

_PLAIN_FLOATS = ("F32", "F16", "BF16")


_PLAIN_SUFFIXES = (".weight", ".bias")


_NEVER_READ = (".weight_shape", ".inv_freq")  # sizes and tables of the loader


def count_step_bytes(folder: ModelFolder, dtype_bits: int | None = None) -> int:
    """Return the bytes of weights, scales and zero points that one decode step reads.

    All layers count, and one head: a tied embedding table is the head and counts once, an untied one is only
    looked up and does not count. A head that is saved beside the table it is tied to counts once as well.

    Args:
        dtype_bits: the width that the engine gives to weights that are not quantized; None: as stored.
    """
    tensors = {name: info for header in folder.headers.values() for name, info in header.tensors.items()}
    has_head = any(_is_head(name) for name in tensors)
    # Without a head of its own a model can only use the table.
    tied = bool(folder.config.get("tie_word_embeddings", not has_head)) or not has_head
    total_bits = 0
    for name, info in tensors.items():
        if name.endswith(_NEVER_READ) or (_is_head(name) if tied else _is_embedding(name)):
            continue
        total_bits += _count_bits(name, info, dtype_bits)
    return total_bits // 8


def _is_head(name: str) -> bool:
    return name.split(".")[-2:-1] == ["lm_head"]


def _is_embedding(name: str) -> bool:
    return name.split(".")[-2:-1] == ["embed_tokens"]


def _count_bits(name: str, info: TensorInfo, dtype_bits: int | None) -> int:
    stored = info.size_bytes * 8
    if dtype_bits is None or info.dtype not in _PLAIN_FLOATS or not name.endswith(_PLAIN_SUFFIXES):
        return stored
    return stored // DTYPE_BITS[info.dtype] * dtype_bits
