"""Where this checkout stands."""

from __future__ import annotations

from pathlib import Path


def find_project_root() -> Path:
    """Return the folder that holds lanes/ and services/, above shared/src/lanekit/host/."""
    return Path(__file__).resolve().parents[4]
