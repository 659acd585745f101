"""Asking nvidia-smi about the GPU that this process sees first; unlike torch it leaves no CUDA context."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lanekit.host.probe import run_command

QUERY_SECONDS = 30.0


def make_query(fields: Iterable[str], what: str = "gpu") -> list[str]:
    """Return the nvidia-smi command for CSV lines on the first GPU that CUDA_VISIBLE_DEVICES names.

    nvidia-smi itself does not heed that variable; a worker numbers its GPUs in nvidia-smi's order.

    Args:
        what: "gpu" for one line, "compute-apps" for a line for each process on it.
    """
    command = ["nvidia-smi", f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return [*command, f"--id={visible}"] if visible.isdigit() or visible.startswith("GPU-") else command


def run_query(fields: Iterable[str], what: str = "gpu") -> str:
    """Return nvidia-smi's answer, an empty string where it is not there or refuses; see `make_query`."""
    return (run_command(make_query(fields, what), QUERY_SECONDS) or "").strip()
