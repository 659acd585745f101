"""A double that sleeps for engine.max_model_len milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from timed_stage import record_and_sleep

from lanekit.progress import Progress
from lanekit.spec.evaluation import EvaluateParams


def run(spec: EvaluateParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Sleep."""
    progress(1, 2, "half-way")
    record_and_sleep("evaluate", spec.engine.max_model_len, out)
