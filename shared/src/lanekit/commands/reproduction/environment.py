"""This machine and its libraries, and how they differ from those that a bundle names."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata

from lanekit.commands.reproduction.bundle import Environment
from lanekit.commands.setup.libraries import LIBRARIES
from lanekit.host.devices import list_devices, name_hardware
from lanekit.host.probe import query_gpus

OWN_PACKAGE = "exaone-lanes"
MAX_NAMED = 12


def look_at_environment() -> Environment:
    """Return what may change a stage's bytes here; a GPU's id is nobody's business."""
    gpus = ({"name": gpu.name, "driver": gpu.driver, "cuda": gpu.cuda} for gpu in query_gpus())
    return Environment(
        device=name_hardware(list_devices()),
        gpus=tuple(gpus),
        machine=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages=list_packages(),
    )


def list_packages() -> dict[str, str]:
    """Return every installed distribution with its version, by name."""
    found = {
        str(d.metadata["Name"]).lower(): d.version for d in metadata.distributions() if d.metadata["Name"]
    }
    return {name: found[name] for name in sorted(found) if name != OWN_PACKAGE}


def compare_environments(recorded: Environment, here: Environment) -> list[str]:
    """Return what is different here, each as "what: recorded, here": devices first, then libraries."""
    lines = [
        f"{name}: {was or 'none'} in the bundle, {now or 'none'} here"
        for name, was, now in (
            ("device", recorded.device, here.device),
            ("GPU", _show_gpus(recorded), _show_gpus(here)),
            ("machine", recorded.machine, here.machine),
            ("Python", recorded.python, here.python),
        )
        if was != now
    ]
    changed = compare_packages(recorded.packages, here.packages)
    lines += changed[:MAX_NAMED]
    if len(changed) > MAX_NAMED:
        lines.append(f"and {len(changed) - MAX_NAMED} more packages")
    return lines


def compare_packages(recorded: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Return the packages of other versions, those that shape results first."""
    names = [n for n in sorted({*recorded, *here}) if recorded.get(n) != here.get(n)]
    names.sort(key=lambda name: name not in LIBRARIES)
    return [
        f"{n}: {recorded.get(n, 'not there')} in the bundle, {here.get(n, 'not there')} here" for n in names
    ]


def _show_gpus(environment: Environment) -> str:
    return "; ".join(", ".join(f"{k} {v}" for k, v in gpu.items()) for gpu in environment.gpus)
