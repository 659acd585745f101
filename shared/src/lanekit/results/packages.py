"""The best lanes' packages in the submissions folder: top1/ … with their zips, swapped in as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from lanekit.errors import InputError, explain_os_errors
from lanekit.files.owned import OwnFiles, describe_tree, open_staging, show_some

LISTING_NAME = ".lanekit-packages.json"


def name_entries(count: int) -> list[str]:
    """Return the names that so many packages have in the submissions folder."""
    return [name for n in range(1, count + 1) for name in (f"top{n}", f"submit_top{n}.zip")]


def check_submissions(submissions: Path, count: int) -> None:
    """Look whether packages can be put into a folder, and those of an earlier ranking be taken out of it.

    Raises:
        InputError: something stands in their place that this product did not write, or that was changed
            since; names it. What stands elsewhere in the folder is no concern.
    """
    own = OwnFiles(submissions, LISTING_NAME)
    with explain_os_errors(f"reading {submissions}"):
        if submissions.exists() and not submissions.is_dir():
            raise InputError(f"{submissions}: not a folder", remedy="pass another --submissions")
        known = own.read()
        entries = [*name_entries(count), *_list_entries(known)]
        foreign = [name for entry in dict.fromkeys(entries) for name in own.find_foreign(entry, known)]
    if foreign:
        raise InputError(
            f"{submissions}: in the place of packages stands what this product did not write, or what was "
            f"changed since: {show_some(foreign)}",
            remedy="move it away, or pass another --submissions",
        )


def export_packages(folders: Sequence[Path], submissions: Path) -> None:
    """Put packages into the submissions folder, the best first, in place of an earlier ranking's.

    All are copied beside it first; where that fails the earlier ones stay.

    Raises:
        InputError: see `check_submissions`.
        StoreError: the disk is full, or the folder cannot be written.
    """
    own = OwnFiles(submissions, LISTING_NAME)
    with explain_os_errors(f"writing {submissions}"), open_staging(submissions) as staging:
        new, old = staging / "new", staging / "old"
        new.mkdir()
        old.mkdir()
        for position, folder in enumerate(folders, start=1):
            shutil.copytree(folder / "package", new / f"top{position}")
            shutil.copyfile(folder / "submit.zip", new / f"submit_top{position}.zip")
        written = describe_tree(new)
        check_submissions(submissions, len(folders))
        known = own.read()
        # Both are ours until the swap is over: a kill in between leaves nothing that would be refused.
        own.write({name: [*known.get(name, ()), *written.get(name, ())] for name in {*known, *written}})
        _swap(submissions, [*_list_entries(known), *_list_entries(written)], new, old)
        own.write(written)


def _swap(root: Path, entries: Iterable[str], new: Path, old: Path) -> None:
    """Move entries of `root` to `old` and those of `new` in; what was moved goes back where one fails."""
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        if source.exists():
            source.rename(target)
            moved.append((source, target))

    try:
        for entry in dict.fromkeys(entries):
            move(root / entry, old / entry)
            move(new / entry, root / entry)
    except BaseException:
        for source, target in reversed(moved):
            target.rename(source)
        raise


def _list_entries(files: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.partition("/")[0] for name in files))
