"""What the numbers were measured on."""

from __future__ import annotations

from lanekit.host.devices import read_cpu_model
from lanekit.host.gpu_query import run_query


def describe_cpu(threads: int) -> str:
    """Return e.g. "cpu: Intel(R) Xeon(R) Processor, 1 thread"."""
    return f"cpu: {read_cpu_model()}, {threads} thread{'' if threads == 1 else 's'}"


def query_gpu() -> dict[str, str]:
    """Return `gpu` and `driver` of the first GPU that this process sees, by nvidia-smi; empty without one.

    nvidia-smi leaves no CUDA context behind in this process, as torch would.
    """
    first = run_query(["name", "driver_version"]).splitlines()[:1]
    if not first or "," not in first[0]:
        return {}
    name, driver = (part.strip() for part in first[0].rsplit(",", 1))
    return {"gpu": name, "driver": driver}
