"""Content keys: equal work has an equal key, so nothing is computed twice."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanekit.errors import InputError

CHUNK_BYTES = 1 << 20
_LEFT_BY_TOOLS = ("__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini")


def write_canonical_json(value: Any) -> str:
    """Serialize with sorted keys and no spaces, so that equal values give equal text.

    Raises:
        ValueError: a number is not finite, or a value is not JSON.
    """

    def check(item: Any) -> None:
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"not a finite number: {item}")
        if isinstance(item, Mapping):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise ValueError(f"a key must be text: {key!r}")
                check(inner)
        elif isinstance(item, (list, tuple)):
            for inner in item:
                check(inner)

    check(value)
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except TypeError as error:
        raise ValueError(f"not a JSON value: {error}") from error


def digest_json(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(write_canonical_json(value).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def list_files(folder: Path, *, recursive: bool = True) -> list[Path]:
    """Return the files of `folder`, and of the folders in it, in a fixed order, hidden ones left out.

    Whatever reads, digests or copies a folder of the user's sees these files and no others. Hidden are names
    with a leading dot (`._model.safetensors`, `.cache/`, `.ipynb_checkpoints/`) and what systems and tools
    leave of their own.
    """
    return sorted(
        p
        for p in (folder.rglob("*") if recursive else folder.iterdir())
        if p.is_file() and not any(map(_is_hidden, p.relative_to(folder).parts))
    )


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _LEFT_BY_TOOLS


def list_source(path: Path) -> list[Path]:
    """Return the files of a source, which is a file itself or a folder.

    Raises:
        InputError: the path does not exist or holds no file.
    """
    if path.is_file():
        return [path]
    files = list_files(path) if path.is_dir() else []
    if not files:
        raise InputError(
            f"{path}: no such file, or a folder without files",
            remedy="correct the path, or make the data first (scripts/01_prepare_data.py --help)",
        )
    return files


def hash_source(path: Path) -> str:
    """Return one digest for a file, or for a folder's file names and bytes.

    Raises:
        InputError: the path does not exist or holds no file.
    """
    files = list_source(path)
    if path.is_file():
        return hash_file(path)
    listing = {p.relative_to(path).as_posix(): hash_file(p) for p in files}
    return digest_json(listing)
