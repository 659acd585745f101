"""The ratio of two models' times: value, interval, and what the interval covers where one stops early."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

from evaluator.engines.base import Ask, Generation
from evaluator.speed.forms import Form
from evaluator.speed.ratio import estimate_ratio
from evaluator.speed.turns import take_turns
from lanekit.spec.params import EngineParams, MeasureSpeedParams


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    """Pairs that drift together have one ratio, whatever the medians of the two series are."""
    assert estimate_ratio([0.5, 1.0, 9.0], [1.0, 2.0, 10.0]).value == pytest.approx(0.5)
    steady = estimate_ratio([0.8, 0.4, 1.6], [1.0, 0.5, 2.0])
    assert (steady.value, steady.low, steady.high) == pytest.approx((0.8, 0.8, 0.8))
    assert steady.half_width == pytest.approx(0)


def test_an_interval_by_hand() -> None:
    """Two pairs with log ratios ± 0.01: s = 0.01·√2, t(1) at 97.5 % is 12.706."""
    found = estimate_ratio([math.exp(0.01), math.exp(-0.01)], [1.0, 1.0])
    reach = 12.7062 * 0.01 * math.sqrt(2) * math.sqrt(math.pi / 2) / math.sqrt(2)
    assert found.value == pytest.approx(1.0)
    assert found.low == pytest.approx(math.exp(-reach), rel=1e-4)
    assert found.high == pytest.approx(math.exp(reach), rel=1e-4)


def test_one_pair_has_no_interval() -> None:
    one = estimate_ratio([0.5], [1.0])
    assert (one.value, one.low, one.high, one.half_width) == (0.5, None, None, math.inf)


@pytest.mark.parametrize(("candidate", "baseline"), [([], []), ([1.0], [1.0, 2.0])])
def test_series_that_are_no_pairs_are_refused(candidate: list[float], baseline: list[float]) -> None:
    with pytest.raises(ValueError, match="are no pairs"):
        estimate_ratio(candidate, baseline)


class TimedEngine:
    """Spends the seconds that its noise says; the clock is the test's."""

    def __init__(self, clock: list[float], seconds: float, noise: float, rng: random.Random) -> None:
        self.clock, self.seconds, self.noise, self.rng = clock, seconds, noise, rng
        self.calls = 0

    def generate_each(self, asks: Sequence[Ask]) -> list[Generation]:
        self.calls += 1
        self.clock[0] += self.seconds * math.exp(self.rng.gauss(0, self.noise))
        return [Generation([5] * ask.max_new_tokens, finished=False) for ask in asks]


def measure(seed: int, noise: float, **settings: Any) -> tuple[Any, list[TimedEngine]]:
    clock, rng = [0.0], random.Random(seed)
    spec = MeasureSpeedParams(
        engine=EngineParams(engine="transformers"), batch_sizes=(1,), prefill_tokens=0, free_items=0,
        benchmark_items=0, score_form="decode_b1", **settings,
    )  # fmt: skip
    engines = [TimedEngine(clock, seconds, noise, rng) for seconds in (0.7, 1.0)]
    form = Form("decode_b1", "decode", ((Ask([1], 4, is_exact=True),),))
    given: Any = engines
    turns = take_turns(given, [form], spec, on_step=lambda *_: None, clock=lambda: clock[0])
    return turns, engines


def test_it_goes_on_until_the_ratio_is_sure() -> None:
    quiet, _ = measure(1, 0.0, min_repeats=3)
    assert [len(one["decode_b1"]) for one in quiet.series] == [3, 3] and quiet.is_settled
    noisy, _ = measure(1, 0.02, min_repeats=3)
    n_pairs = len(noisy.series[0]["decode_b1"])
    assert noisy.is_settled and n_pairs > 10
    times = [[timing.s_per_token for timing in one["decode_b1"]] for one in noisy.series]
    assert estimate_ratio(*times).half_width <= 0.01


def test_the_budget_ends_it_and_says_so() -> None:
    turns, _ = measure(1, 0.2, min_repeats=3, budget_s=20.0)
    assert not turns.is_settled
    assert 20 <= turns.seconds < 24
    least, _ = measure(1, 0.2, min_repeats=3, budget_s=0)
    assert [len(one["decode_b1"]) for one in least.series] == [3, 3] and not least.is_settled


def test_a_short_run_is_made_longer_by_passes() -> None:
    clock = [0.0]
    spec = MeasureSpeedParams(
        engine=EngineParams(engine="transformers"), batch_sizes=(1,), prefill_tokens=0, free_items=0,
        benchmark_items=0, score_form="decode_b1", min_repeats=1, budget_s=0,
    )  # fmt: skip
    given: Any = [TimedEngine(clock, seconds, 0.0, random.Random(1)) for seconds in (0.7, 1.0)]
    form = Form("decode_b1", "decode", ((Ask([1], 4, is_exact=True),),))
    turns = take_turns(given, [form], spec, least_s=5.0, on_step=lambda *_: None, clock=lambda: clock[0])
    assert turns.forms[0].times == 8  # the faster one's runs last five seconds: 8 × 0.7
    for series, seconds in zip(turns.series, (0.7, 1.0), strict=True):
        (timing,) = series["decode_b1"]
        assert timing.seconds == pytest.approx(8 * seconds)
        assert timing.tokens == 8 * 4  # more work, the same seconds per token
    assert turns.forms[0].n_sequences == 1


@pytest.mark.slow
def test_the_interval_covers_the_truth_where_one_stops_early() -> None:
    """Stopping at the first interval that is narrow enough costs coverage; little, as it turns out."""
    covered, runs = 0, 400
    for seed in range(runs):
        turns, _ = measure(seed, 0.02, min_repeats=3, budget_s=600.0)
        times = [[timing.s_per_token for timing in one["decode_b1"]] for one in turns.series]
        found = estimate_ratio(*times)
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.7 <= found.high
    assert 0.90 <= covered / runs <= 0.99, covered / runs
