"""Content keys: equal work has an equal key, so nothing is computed twice."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lanekit.errors import InputError

CHUNK_BYTES = 1 << 20
SHORT_KEY_CHARACTERS = 12


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


def compute_stage_key(
    stage: str,
    version: int,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str],
    environment: str,
) -> str:
    """Return the 64 hex digits that name a stage's result (design.md, promise 2)."""
    payload = {
        "stage": stage,
        "version": version,
        "parameters": parameters,
        "inputs": inputs,
        "environment": environment,
    }
    return hashlib.sha256(write_canonical_json(payload).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def list_files(folder: Path) -> list[Path]:
    """Return the files below `folder` in a fixed order, hidden ones and caches left out."""
    return sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )


def hash_source(path: Path) -> str:
    """Return one digest for a file, or for a folder's file names and bytes.

    Raises:
        InputError: the path does not exist or holds no file.
    """
    if path.is_file():
        return hash_file(path)
    files = list_files(path) if path.is_dir() else []
    if not files:
        raise InputError(
            f"{path}: no such file, or a folder without files",
            remedy="correct the path, or make the data first (scripts/01_prepare_data.py --help)",
        )
    listing = {p.relative_to(path).as_posix(): hash_file(p) for p in files}
    return hashlib.sha256(write_canonical_json(listing).encode()).hexdigest()


@cache
def hash_environment(lock_file: Path) -> str:
    """Return the digest of a service's requirements lock, read as text without comments."""
    if not lock_file.is_file():
        raise InputError(f"{lock_file}: the requirements lock is missing", remedy="run ./scripts/dev lock")
    lines = [
        line.strip()
        for line in lock_file.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
