"""What the tests of the preflight share."""

from __future__ import annotations

from pathlib import Path

import pytest
from preflight_bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An experiment at which nothing is at fault."""
    return Bench(tmp_path)
