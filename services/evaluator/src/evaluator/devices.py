"""What the numbers were measured on."""

from __future__ import annotations

import subprocess

from lanekit.devices import read_cpu_model


def describe_cpu(threads: int) -> str:
    """Return e.g. "cpu: Intel(R) Xeon(R) Processor, 1 thread"."""
    return f"cpu: {read_cpu_model()}, {threads} thread{'' if threads == 1 else 's'}"


def query_gpu() -> dict[str, str]:
    """Return `gpu` and `driver` of the first GPU by nvidia-smi, empty without one.

    nvidia-smi leaves no CUDA context behind in this process, as torch would.
    """
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return {}
    first = done.stdout.strip().splitlines()[:1]
    if not first or "," not in first[0]:
        return {}
    name, driver = (part.strip() for part in first[0].rsplit(",", 1))
    return {"gpu": name, "driver": driver}
