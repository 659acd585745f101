"""Each service's lock of requirements, as a digest: a part of the keys of its stages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import get_args

from lanekit.errors import InputError
from lanekit.spec.stages import Service


@cache
def hash_lock(lock_file: Path) -> str:
    """Return the digest of a service's requirements lock, read as text without comments."""
    if not lock_file.is_file():
        raise InputError(f"{lock_file}: the requirements lock is missing", remedy="run ./scripts/dev lock")
    lines = [
        line.strip()
        for line in lock_file.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


SERVICES: tuple[str, ...] = get_args(Service)


def load_lock_digests(root: Path, services: Iterable[str] = SERVICES) -> dict[str, str]:
    """Return the services' lock digests; an image holds its own service's lock alone."""
    return {s: hash_lock(root / "services" / s / "requirements.lock") for s in services}
