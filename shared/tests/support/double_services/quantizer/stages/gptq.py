"""A double that sleeps for max_length milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from timed_stage import record_and_sleep

from lanekit.progress import Progress
from lanekit.spec.quantization import GptqParams


def run(spec: GptqParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Sleep."""
    progress(1, 2, "half-way")
    record_and_sleep("gptq", spec.max_length, out)
