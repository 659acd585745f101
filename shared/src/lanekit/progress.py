"""Progress of a stage: a callable that takes step, total and a word on what is being done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """What a stage calls as it goes; `total` 0 means unknown."""

    def __call__(self, step: int, total: int, message: str = "") -> None:
        """Report that `step` of `total` is done."""


def ignore_progress(step: int, total: int, message: str = "") -> None:
    """Accept progress and do nothing with it."""


@dataclass(frozen=True)
class ProgressEvent:
    """One report, with the stage run's key."""

    key: str
    step: int
    total: int
    message: str
