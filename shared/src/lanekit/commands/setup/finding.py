"""One finding of the set-up check: a mark, what was found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "fault"]
MARKS: dict[Level, str] = {"ok": "✓", "warning": "!", "fault": "✗"}


@dataclass(frozen=True)
class Finding:
    """A `fault` stops the main job, a `warning` only narrows what can be done."""

    level: Level
    subject: str
    found: str
    remedy: str = ""


def expect(is_good: bool, subject: str, found: str, remedy: str, otherwise: Level = "fault") -> Finding:
    """Return what was found as good, or else with its remedy."""
    return Finding("ok", subject, found) if is_good else Finding(otherwise, subject, found, remedy)
