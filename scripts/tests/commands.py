"""What the tests of the commands share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
Runner = Callable[..., "subprocess.CompletedProcess[str]"]


def make_environment() -> dict[str, str]:
    """The environment of a command: wide plain output, one thread a process as the driver sets it."""
    return {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
