"""What goes of a folder of kept things: what was not used for long, then the oldest beyond a bound. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DAY_S = 86_400.0


@dataclass(frozen=True)
class Kept:
    """One thing that is kept; `used_at` is when it was used last, in seconds since the epoch."""

    path: Path
    size_bytes: int
    used_at: float


@dataclass(frozen=True)
class Bound:
    """How much is kept, and for how long without a use."""

    size_bytes: int
    age_s: float


def choose_removals(kept: Iterable[Kept], bound: Bound, now: float) -> list[Path]:
    """Return what is to be removed, the one not used for longest first."""
    ordered = sorted(kept, key=lambda item: (item.used_at, str(item.path)))
    excess_bytes = sum(item.size_bytes for item in ordered) - bound.size_bytes
    removals = []
    for item in ordered:
        if now - item.used_at <= bound.age_s and excess_bytes <= 0:
            break
        removals.append(item.path)
        excess_bytes -= item.size_bytes
    return removals
