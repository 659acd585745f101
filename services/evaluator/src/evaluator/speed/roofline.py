"""How much memory a decode step must read, and how close to the memory's speed it runs. Pure.

One decode step of a dense transformer reads every weight once, whatever the batch (Williams et al. 2009,
"Roofline"; at small batches decoding is bound by memory). The KV cache, activations and the looked-up rows of
the embedding table are left out, so the roof is a little lower than drawn here. The step time that is
measured includes the prompt's prefill, spread over the steps: the ratio is a lower bound.
"""

from __future__ import annotations

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


def find_bandwidth(gpu: str) -> float | None:
    """Return a GPU's memory bandwidth in bytes per second, None where the table does not have it."""
    gigabytes = BANDWIDTH_GB_PER_S.get(gpu)
    return None if gigabytes is None else gigabytes * 1e9


def measure_ratio(step_bytes: int, bandwidth: float | None, step_seconds: float | None) -> float | None:
    """Return the least time for `step_bytes` at `bandwidth` (bytes/s) over the time measured; 1 is the roof.

    A lower bound where `step_seconds` includes a share of the prefill, as a decode form's do. None where
    bandwidth or time is not known.
    """
    if bandwidth is None or not step_seconds:
        return None
    return step_bytes / bandwidth / step_seconds
