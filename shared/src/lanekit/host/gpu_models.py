"""What the vendor says of GPUs that people compete with: compute capability, memory, tensor cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class GpuModel:
    """One model. `sm` is the compute capability (89 for 8.9); `peak_tflops` are dense tensor values by dtype.

    A dtype that is not among them cannot be multiplied by its tensor cores.
    """

    sm: int
    bandwidth_gb_per_s: float
    peak_tflops: Mapping[str, float]

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """The memory's bandwidth; 10^9 bytes a GB."""
        return self.bandwidth_gb_per_s * 1e9

    def find_peak(self, dtype: str) -> float | None:
        """Return the tensor cores' operations per second in a dtype; None where they do not know it."""
        tera = self.peak_tflops.get(dtype)
        return None if tera is None else tera * 1e12


def _make(sm: int, bandwidth: float, half: float, int8: float, fp8: float | None = None) -> GpuModel:
    halves = {"float16": half, "bfloat16": half} if sm >= 80 else {"float16": half}
    return GpuModel(sm, bandwidth, {**halves, "int8": int8, **({"fp8": fp8} if fp8 else {})})


# By nvidia-smi's name, from NVIDIA's data sheet of each product; GeForce: from the white papers of GA102,
# AD102 and GB202, the values with FP32 accumulation (vLLM's kernels accumulate so), half of those with FP16.
# The data sheets of Ada and Hopper print values with sparsity: dense is half of them. A10G: as Baseten quotes
# its sheet.
GPU_MODELS = {
    "Tesla T4": _make(75, 320, 65, 130),
    "NVIDIA A10": _make(86, 600, 125, 250),
    "NVIDIA A10G": _make(86, 600, 70, 140),
    "NVIDIA A100-SXM4-40GB": _make(80, 1555, 312, 624),
    "NVIDIA A100-PCIE-40GB": _make(80, 1555, 312, 624),
    "NVIDIA A100-SXM4-80GB": _make(80, 2039, 312, 624),
    "NVIDIA A100 80GB PCIe": _make(80, 1935, 312, 624),
    "NVIDIA L4": _make(89, 300, 121, 242, 242),
    "NVIDIA L40S": _make(89, 864, 362, 733, 733),
    "NVIDIA H100 80GB HBM3": _make(90, 3352, 989, 1979, 1979),
    "NVIDIA H100 PCIe": _make(90, 2039, 756, 1513, 1513),
    "NVIDIA H200": _make(90, 4800, 989, 1979, 1979),
    "NVIDIA GeForce RTX 3090": _make(86, 936, 71, 284),
    "NVIDIA GeForce RTX 4090": _make(89, 1008, 165.2, 660.6, 330.3),
    "NVIDIA GeForce RTX 5090": _make(120, 1792, 209.5, 838, 419),
}


def find_gpu_model(name: str) -> GpuModel | None:
    """Return what is known of a GPU by nvidia-smi's name; None where the table does not have it."""
    return GPU_MODELS.get(name)
