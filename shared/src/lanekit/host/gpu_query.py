"""Asking nvidia-smi about the GPU that this process sees first; unlike torch it leaves no CUDA context."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lanekit.host.probe import run_command

QUERY_SECONDS = 30.0
MEMORY = ("memory.total", "memory.free")


def make_query(fields: Iterable[str], what: str = "gpu", visible: str | None = None) -> list[str]:
    """Return the nvidia-smi command for CSV lines on the first GPU that CUDA_VISIBLE_DEVICES names.

    nvidia-smi itself does not heed that variable; a worker numbers its GPUs in nvidia-smi's order.

    Args:
        what: "gpu" for one line, "compute-apps" for a line for each process on it.
        visible: what stands for CUDA_VISIBLE_DEVICES, of which None is this process's own.
    """
    command = ["nvidia-smi", f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits"]
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "") if visible is None else visible
    first = names.split(",")[0].strip()
    return [*command, f"--id={first}"] if first.isdigit() or first.startswith("GPU-") else command


def run_query(fields: Iterable[str], what: str = "gpu", visible: str | None = None) -> str:
    """Return nvidia-smi's answer, an empty string where it is not there or refuses; see `make_query`."""
    return (run_command(make_query(fields, what, visible), QUERY_SECONDS) or "").strip()


def read_memory_mib(answer: str | None = None) -> tuple[int, int] | None:
    """Return the GPU's memory and what of it is free, in MiB; None where that is not told.

    Args:
        answer: nvidia-smi's "total, free" in MiB; None asks it.
    """
    lines = (run_query(MEMORY) if answer is None else answer).splitlines()
    sizes = [size.strip() for size in lines[0].split(",")] if lines else []
    if len(sizes) != 2 or not all(size.isdigit() for size in sizes) or not int(sizes[0]):
        return None
    return int(sizes[0]), int(sizes[1])


def read_free_share(visible: str | None = None) -> float:
    """Return how much of the GPU's memory is free, from 0 to 1; 1 where that is not told."""
    sizes = read_memory_mib(run_query(MEMORY, visible=visible))
    return sizes[1] / sizes[0] if sizes else 1.0
