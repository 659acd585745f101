"""The set-up check as a whole, and what it says of the machine and its services."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lanekit.commands.setup.finding import Finding, expect
from lanekit.commands.setup.libraries import check_libraries
from lanekit.commands.setup.needs import check_needs
from lanekit.host import probe
from lanekit.host.checkout import find_project_root

PYTHON_OLDEST, PYTHON_NEWEST = (3, 10), (3, 12)
# CUDA 12.8 came with driver 570; from 525 on, drivers serve all of CUDA 12 (NVIDIA's compatibility guide).
DRIVER_OLDEST, DRIVER_WANTED = 525, 570
PROBED_URLS = (("Redis", "LANEKIT_REDIS_URL"), ("MinIO", "LANEKIT_MINIO_URL"))


def check_setup(
    experiment_path: Path, store: Path, environment: Mapping[str, str] | None = None
) -> list[Finding]:
    """Return all findings, in the order in which a person would mend them."""
    environment = os.environ if environment is None else environment
    gpus, gpu_fault = probe.ask_gpus()
    return [
        check_python(sys.version_info[:3]),
        check_cores(probe.count_cores()),
        *check_gpus(gpus, gpu_fault),
        *check_libraries(find_project_root(), bool(gpus)),
        check_store(store),
        *check_needs(experiment_path, store, gpus, environment),
        *(check_service(name, variable, environment.get(variable)) for name, variable in PROBED_URLS),
        check_docker(),
    ]


def check_python(version: tuple[int, ...]) -> Finding:
    """Check the interpreter's version."""
    is_good = PYTHON_OLDEST <= tuple(version[:2]) <= PYTHON_NEWEST
    found = ".".join(str(part) for part in version[:3])
    return expect(is_good, "Python", found, "use Python 3.10, 3.11 or 3.12: the pinned libraries need it")


def check_cores(cores: int) -> Finding:
    """Check the number of CPU cores."""
    return expect(
        cores >= 2, "CPU cores", str(cores), "two or more let two stages run at once", otherwise="warning"
    )


def check_gpus(gpus: Sequence[probe.Gpu], fault: str = "") -> list[Finding]:
    """Check GPU, driver and CUDA; `fault` is why nvidia-smi, which is there, names none."""
    if fault:
        remedy = (
            "mend what it says where this host has an NVIDIA GPU: after an update of the driver, restart the "
            "host; until then everything runs on the cpu"
        )
        return [Finding("warning", "GPU", f"nvidia-smi is there and fails: {fault}", remedy)]
    names = ", ".join(f"{gpu.name} ({gpu.memory_bytes / 2**30:.0f} GiB)" for gpu in gpus)
    remedy = (
        "without an NVIDIA GPU everything runs on the cpu: right for the demo, hours for the real model, "
        "and speeds measured on a cpu do not carry over to a GPU"
    )
    found = expect(bool(gpus), "GPU", names or "none found (nvidia-smi)", remedy, otherwise="warning")
    return [found, *(check_driver(gpu) for gpu in gpus[:1])]


def check_driver(gpu: probe.Gpu) -> Finding:
    """Check a GPU's driver."""
    first = gpu.driver.partition(".")[0]
    major = int(first) if first.isdigit() else 0
    found = f"{gpu.driver}, CUDA up to {gpu.cuda or 'unknown'}"
    if major < DRIVER_OLDEST:
        remedy = f"install driver {DRIVER_WANTED} or newer: the pinned torch needs CUDA 12.8"
        return Finding("fault", "GPU driver", found, remedy)
    remedy = f"driver {DRIVER_WANTED} or newer is what CUDA 12.8 was made for; some kernels may not load"
    return expect(major >= DRIVER_WANTED, "GPU driver", found, remedy, otherwise="warning")


def check_store(store: Path) -> Finding:
    """Try to write where the store is or would be."""
    obstacle = probe.try_write(store)
    found = f"{store}: {obstacle}" if obstacle else f"{store} can be written"
    return expect(not obstacle, "store", found, "give this user the right, or pass another --store")


def check_service(name: str, variable: str, url: str | None) -> Finding:
    """Try a service that the environment names; the embedded default needs none."""
    if not url:
        return Finding("ok", name, "not configured: the embedded default needs none")
    host = url.rpartition("@")[2]  # a URL may carry a password: what stands before the @ is not shown
    obstacle = probe.try_connect(url)
    remedy = f"start it (docker compose up -d), or unset {variable} for the embedded default"
    return expect(not obstacle, name, f"{host}: {obstacle}" if obstacle else f"{host} answers", remedy)


def check_docker(run: Callable[[list[str]], str | None] = probe.run_command) -> Finding:
    """Tell of Docker; only the composed stack needs it."""
    has_client = run(["docker", "--version"]) is not None
    server = run(["docker", "version", "--format", "{{.Server.Version}}"]) if has_client else None
    if server:
        return Finding("ok", "Docker", f"engine {server.strip()}")
    found = "client without a running engine" if has_client else "not found"
    return Finding(
        "warning", "Docker", found, "only the composed stack needs it; the embedded default does not"
    )
