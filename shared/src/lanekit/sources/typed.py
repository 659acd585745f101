"""A source as a person types it: a path at which nothing stands is a path, not a name on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from lanekit.errors import InputError, find_close
from lanekit.spec.experiment_file import is_local

FILE_SUFFIXES = (
    ".jsonl", ".json", ".parquet", ".csv", ".tsv", ".txt", ".gz", ".zip", ".tar", ".safetensors", ".bin",
    ".gguf",
)  # fmt: skip
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
RULE = "a local path exists, or starts with / or ./; a hub id has the form OWNER/NAME"


def looks_like_path(source: str, home: Path | None = None) -> bool:
    """Whether a source is a path, there or not: only OWNER/NAME can be a hub id.

    So is one whose ending is a file's, and, where `home` is given, one whose first folder stands there.
    """
    if is_local(source) or not HUB_ID.fullmatch(source) or source.lower().endswith(FILE_SUFFIXES):
        return True
    return home is not None and (home / source.partition("/")[0]).is_dir()


def find_source(source: str, home: Path = Path()) -> str:
    """Return a path absolute, and a hub id as it is.

    Raises:
        InputError: it is a path, and nothing stands there; names the closest that does.
    """
    try:
        path = home / Path(source).expanduser()
        if path.exists():
            return str(path.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # too long; no such user; a NUL
        raise InputError(f"{source!r}: not a path: {error}", remedy=RULE) from error
    if not looks_like_path(source, home):
        return source
    raise explain_missing(source, path)


def explain_missing(source: str, path: Path) -> InputError:
    """Return the error for a path at which nothing stands."""
    hint = " (folders are parted by / here)" if "\\" in source else suggest_path(source, path)
    return InputError(f"{source}: no such file or folder{hint}", remedy=f"correct the path; {RULE}")


def suggest_path(source: str, path: Path) -> str:
    """Return " (did you mean 'x'?)" for the closest name where the path leaves what exists, or ""."""
    wrong, folder = path, path.parent
    while not folder.exists() and folder != folder.parent:
        wrong, folder = folder, folder.parent
    try:
        names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return ""
    close = find_close(wrong.name, names)
    if close is None:
        return ""
    typed, depth = Path(source), len(path.parts) - len(wrong.parts)
    first, rest = typed.parts[: len(typed.parts) - depth - 1], typed.parts[len(typed.parts) - depth :]
    return f" (did you mean '{Path(*first, close, *rest)}'?)"
