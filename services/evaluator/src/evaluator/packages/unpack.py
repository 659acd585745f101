"""A package artifact as it was handed over: its zip, its licence."""

from __future__ import annotations

from pathlib import Path

from lanekit.errors import InputError

_REMEDY = "package the lane again"


def find_zip(package: Path) -> Path:
    """Return the only zip of a package artifact.

    Raises:
        InputError: there is none, or more than one.
    """
    found = sorted(package.glob("*.zip"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(f"{package}: exactly one zip is wanted, found: {names}", remedy=_REMEDY)
    return found[0]


def check_licence(model: Path, root: Path) -> str:
    """Return the licence file's name, beside the model or at the package's root.

    Raises:
        InputError: there is none.
    """
    for folder in (model, root):
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE")):
                return path.name
    raise InputError(
        "the package has no LICENSE file", remedy="the base model's folder must hold its licence file"
    )
