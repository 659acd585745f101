"""A double that sleeps for max_tokens milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from timed_stage import record_and_sleep

from lanekit.progress import Progress
from lanekit.spec.judge import JudgeParams


def run(spec: JudgeParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Sleep."""
    progress(1, 2, "half-way")
    record_and_sleep("judge", spec.max_tokens, out)
