"""What the numbers were measured on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from lanekit.devices import read_cpu_model

_QUERY_SECONDS = 30


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


def make_query(fields: Iterable[str]) -> list[str]:
    """Return the nvidia-smi command for one line of CSV on the first GPU that CUDA_VISIBLE_DEVICES names.

    nvidia-smi itself does not heed that variable; a worker numbers its GPUs in nvidia-smi's order.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return [*command, f"--id={visible}"] if visible.isdigit() or visible.startswith("GPU-") else command


def run_query(fields: Iterable[str]) -> str:
    """Return nvidia-smi's answer, an empty string where it is not there or refuses."""
    try:
        done = subprocess.run(
            make_query(fields), capture_output=True, text=True, check=True, timeout=_QUERY_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
