"""How much memory a decode step must read, and how close to the memory's speed it runs. Pure.

One decode step of a dense transformer reads every weight once, whatever the batch (Williams et al. 2009,
"Roofline"; at small batches decoding is bound by memory). The KV cache, activations and the looked-up rows of
the embedding table are left out, so the roof is a little lower than drawn here. The step time that is
measured includes the prompt's prefill, spread over the steps: the ratio is a lower bound.
"""

from __future__ import annotations

from lanekit.files.safetensors_header import DTYPE_BITS, ModelFolder, TensorInfo

# Bytes per second, by nvidia-smi's name: the vendor's data sheets (10^9 bytes a GB).
BANDWIDTH_GB_PER_S = {
    "Tesla T4": 320,
    "NVIDIA A10": 600,
    "NVIDIA A10G": 600,
    "NVIDIA A100-SXM4-40GB": 1555,
    "NVIDIA A100-PCIE-40GB": 1555,
    "NVIDIA A100-SXM4-80GB": 2039,
    "NVIDIA A100 80GB PCIe": 1935,
    "NVIDIA L4": 300,
    "NVIDIA L40S": 864,
    "NVIDIA H100 80GB HBM3": 3352,
    "NVIDIA H100 PCIe": 2039,
    "NVIDIA H200": 4800,
    "NVIDIA GeForce RTX 3090": 936,
    "NVIDIA GeForce RTX 4090": 1008,
    "NVIDIA GeForce RTX 5090": 1792,
}
RATIO_NOTE = "the step time includes the prefill, so the ratio to the roofline is a lower bound"
_PLAIN_FLOATS = ("F32", "F16", "BF16")
_PLAIN_SUFFIXES = (".weight", ".bias")
_NEVER_READ = (".weight_shape", ".inv_freq")  # sizes and tables of the loader


def find_bandwidth(gpu: str) -> float | None:
    """Return a GPU's memory bandwidth in bytes per second, None where the table does not have it."""
    gigabytes = BANDWIDTH_GB_PER_S.get(gpu)
    return None if gigabytes is None else gigabytes * 1e9


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


def measure_ratio(step_bytes: int, bandwidth: float | None, step_seconds: float | None) -> float | None:
    """Return the least time for `step_bytes` at `bandwidth` (bytes/s) over the time measured; 1 is the roof.

    A lower bound where `step_seconds` includes a share of the prefill, as a decode form's do. None where
    bandwidth or time is not known.
    """
    if bandwidth is None or not step_seconds:
        return None
    return step_bytes / bandwidth / step_seconds


def _is_head(name: str) -> bool:
    return name.split(".")[-2:-1] == ["lm_head"]


def _is_embedding(name: str) -> bool:
    return name.split(".")[-2:-1] == ["embed_tokens"]


def _count_bits(name: str, info: TensorInfo, dtype_bits: int | None) -> int:
    stored = info.size_bytes * 8
    if dtype_bits is None or info.dtype not in _PLAIN_FLOATS or not name.endswith(_PLAIN_SUFFIXES):
        return stored
    return stored // DTYPE_BITS[info.dtype] * dtype_bits
