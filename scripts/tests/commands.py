"""What the tests of the commands share."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
Runner = Callable[..., "subprocess.CompletedProcess[str]"]


class EmbeddedRun(NamedTuple):
    """What run_all.py printed, and the folder in which it ran."""

    printed: str
    folder: Path


def make_environment() -> dict[str, str]:
    """The environment of a command: wide plain output, one thread a process as the driver sets it."""
    return {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}


def read_table(folder: Path) -> dict[str, dict[str, str]]:
    """Return results/summary.csv below a folder, by lane."""
    with (folder / "results" / "summary.csv").open(encoding="utf-8", newline="") as stream:
        return {row["lane"]: row for row in csv.DictReader(stream)}
