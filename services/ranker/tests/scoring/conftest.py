"""Forms of timing for the tests of the score."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from lanekit.results.speed import SpeedForm


@pytest.fixture
def make_form() -> Callable[..., SpeedForm]:
    """Make a form of eight prompts whose baseline takes 0.1 s a token."""

    def make(kind: str, ratios: list[float], tokens: int = 80, base_tokens: int = 80) -> SpeedForm:
        middle = statistics.median(ratios)
        return SpeedForm.model_validate(
            {
                "kind": kind, "s_per_token": middle * 0.1, "s_per_token_all": [r * 0.1 for r in ratios],
                "baseline_s_per_token": 0.1, "baseline_s_per_token_all": [0.1] * len(ratios), "ratio": middle,
                "ratio_low": min(ratios), "ratio_high": max(ratios), "n_sequences": 8, "tokens": tokens,
                "baseline_tokens": base_tokens, "seconds": 1.0, "baseline_seconds": 1.0,
            }
        )  # fmt: skip

    return make
