"""Content keys: equal work has an equal key, so nothing is computed twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanekit.files.hashing import digest_json

SHORT_KEY_CHARACTERS = 12


def compute_stage_key(
    stage: str,
    version: int,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str],
    lock_digest: str,
) -> str:
    """Return the 64 hex digits that name a stage's result (shared/README.md, promise 2)."""
    payload = {
        "stage": stage,
        "version": version,
        "parameters": parameters,
        "inputs": inputs,
        "environment": lock_digest,
    }
    return digest_json(payload)
