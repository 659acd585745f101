"""The devices that stages run on: each GPU by its UUID; on a host without one, its processor."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lanekit.errors import TransientError
from lanekit.host.probe import Gpu, ask_gpus

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # the same in every container of one host


DeviceKind = Literal["cuda", "cpu"]


@dataclass(frozen=True)
class Device:
    """One device; `id` is the same for every process and container of its host."""

    id: str
    name: str
    kind: DeviceKind


def list_devices() -> list[Device]:
    """Return the host's GPUs, or its processor as the one device; nothing imports torch.

    Raises:
        TransientError: there is a GPU, but nvidia-smi lists none.
    """
    gpus, fault = ask_gpus()
    return choose_devices(gpus, has_cuda=detect_cuda(), fault=fault)


def choose_devices(gpus: Sequence[Gpu], has_cuda: bool, fault: str = "") -> list[Device]:
    """Return the GPUs; the processor only where there is surely none.

    A GPU that is taken for none would be computed on without its lease, beside whoever holds that.

    Args:
        fault: why nvidia-smi names none, in its own words.

    Raises:
        TransientError: there is a GPU, but none is listed.
    """
    if has_cuda and not gpus:
        raise TransientError(
            f"there is an NVIDIA GPU here, but nvidia-smi names none: {fault or 'it is not there'}",
            remedy="run nvidia-smi here (in a container: docker compose exec trainer nvidia-smi), mend "
            "what it says, then start this again",
        )
    found = [Device(gpu.uuid, gpu.name, "cuda") for gpu in gpus]
    return found or [Device(f"cpu-{_identify_host()}", f"cpu: {read_cpu_model()}", "cpu")]


def name_hardware(devices: list[Device]) -> str:
    """Return the name by which speeds of these devices are kept apart from others'."""
    return devices[0].name


def read_cpu_model() -> str:
    """Return the processor's name, or its architecture where the system does not tell."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _identify_host() -> str:
    return BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.is_file() else platform.node()


def detect_cuda() -> bool:
    """Whether an NVIDIA device is there, found without importing torch."""
    return Path("/dev/nvidiactl").exists() or (
        shutil.which("nvidia-smi") is not None and Path("/proc/driver/nvidia/gpus").is_dir()
    )
