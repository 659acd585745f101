"""What this product wrote into a folder that it shares with a person: only that is ever replaced or removed.

A folder that is cleared as a whole bears a mark. Of a folder that a person named (results, submissions) a
listing says which files are ours, each with the sha256 that it was written with.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lanekit.files.atomic import write_text_atomically
from lanekit.files.hashing import hash_file

MARK = ".lanekit"
MARK_TEXT = "Written by lanekit: this folder and all that is in it may be removed by it.\n"
STAGING = ".lanekit-new-"
ABANDONED_SECONDS = 86_400.0  # a run that writes its end into the same folder takes minutes

Listing = Mapping[str, Iterable[str]]


class _ListingFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = 1
    written_by: Literal["lanekit"] = "lanekit"
    files: dict[str, list[str]]


def mark_folder(folder: Path) -> None:
    """Make a folder, unless it is there with its mark, that this product may remove.

    Raises:
        FileExistsError: it is there without the mark.
        OSError: it cannot be made.
    """
    if is_marked(folder):
        return
    folder.mkdir(parents=True)
    (folder / MARK).write_text(MARK_TEXT, encoding="utf-8")


def is_marked(folder: Path) -> bool:
    """Whether a folder bears this product's mark; a link to one does not count."""
    return not folder.is_symlink() and (folder / MARK).is_file()


def adopt_folder(folder: Path, is_own: Callable[[Path], bool]) -> bool:
    """Mark a folder that is new, or in which all entries are this product's; return whether it is marked.

    Raises:
        OSError: it cannot be made.
    """
    if is_marked(folder):
        return True
    if folder.is_symlink() or (folder.exists() and not all(is_own(entry) for entry in folder.iterdir())):
        return False
    folder.mkdir(parents=True, exist_ok=True)  # another process may make it as well
    (folder / MARK).write_text(MARK_TEXT, encoding="utf-8")
    return True


def remove_marked(folder: Path) -> bool:
    """Remove a folder that bears the mark, and return whether it did."""
    if not is_marked(folder):
        return False
    for path in folder.iterdir():  # the mark last: what a kill leaves of it is found again
        if path.name == MARK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return True


@contextmanager
def open_staging(root: Path) -> Iterator[Path]:
    """Give a new folder on the disk of `root`, to be filled and then moved from; it goes at the end.

    What a killed process left of one is removed a day later.
    """
    root.mkdir(parents=True, exist_ok=True)
    for leftover in root.glob(f"{STAGING}*"):
        if is_marked(leftover) and time.time() - leftover.stat().st_mtime > ABANDONED_SECONDS:
            remove_marked(leftover)
    folder = root / f"{STAGING}{uuid.uuid4().hex[:12]}"
    mark_folder(folder)
    try:
        yield folder
    finally:
        remove_marked(folder)


class OwnFiles:
    """The files below `root` that this product wrote, as its listing there has them."""

    def __init__(self, root: Path, listing_name: str) -> None:
        self.root = root
        self._place = root / listing_name

    def read(self) -> dict[str, list[str]]:
        """Return the sha256 of each file, by its path below the root; none where the listing is not ours."""
        try:
            return _ListingFile.model_validate_json(self._place.read_bytes()).files
        except (OSError, ValidationError):
            return {}

    def write(self, files: Listing) -> None:
        """Write the listing anew."""
        listing = _ListingFile(files={name: sorted(set(found)) for name, found in sorted(files.items())})
        write_text_atomically(self._place, listing.model_dump_json(indent=1) + "\n")

    def find_foreign(self, entry: str, known: Listing | None = None) -> list[str]:
        """Return the files at or below `entry` that are not as this product wrote them, links among them.

        An entry that is not there has none; neither has a folder without a file.
        """
        known = self.read() if known is None else known
        path = self.root / entry
        if path.is_dir() and not path.is_symlink():
            found = [p for p in sorted(path.rglob("*")) if p.is_symlink() or not p.is_dir()]
        else:
            found = [path] if os.path.lexists(path) else []
        return [
            name for p in found if not self._is_own(p, name := p.relative_to(self.root).as_posix(), known)
        ]

    def _is_own(self, path: Path, name: str, known: Listing) -> bool:
        return not path.is_symlink() and path.is_file() and name in known and hash_file(path) in known[name]


def describe_tree(folder: Path) -> dict[str, list[str]]:
    """Return the sha256 of each file below a folder, by its path; a mark is none."""
    return {
        path.relative_to(folder).as_posix(): [hash_file(path)]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() != MARK
    }


def show_some(names: Iterable[str], most: int = 5) -> str:
    """Return some names and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
