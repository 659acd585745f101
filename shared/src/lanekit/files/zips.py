"""Unzip a package without leaving its folder."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath

from lanekit.errors import InputError

_REMEDY = "package the lane again"


def unzip_safely(archive: Path, target: Path) -> list[str]:
    """Extract every member below `target` and return their names.

    Raises:
        InputError: the file is no readable zip, or a member is a link or would land outside of `target`.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                _check_member(archive, member)
            broken = opened.testzip()
            if broken:
                raise InputError(f"{archive}: the member '{broken}' is damaged", remedy=_REMEDY)
            opened.extractall(target)
            return sorted(member.filename for member in opened.infolist() if not member.is_dir())
    except zipfile.BadZipFile as error:
        raise InputError(f"{archive}: not a readable zip: {error}", remedy=_REMEDY) from error


def find_model_folder(root: Path) -> Path:
    """Return the folder that holds config.json.

    Raises:
        InputError: there is none, or more than one.
    """
    found = sorted(path.parent for path in root.rglob("config.json"))
    if len(found) != 1:
        raise InputError(
            f"the package holds {len(found)} folders with a config.json where one is wanted", remedy=_REMEDY
        )
    return found[0]


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename.replace("\\", "/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise InputError(f"{archive}: the member '{member.filename}' would leave the folder", remedy=_REMEDY)
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{archive}: the member '{member.filename}' is a link", remedy=_REMEDY)
