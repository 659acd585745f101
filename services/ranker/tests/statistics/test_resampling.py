"""Resamples and the intervals that they give, against scipy, by hand and by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from ranker.statistics import resampling
from ranker.statistics.resampling import divide, draw_gains, find_interval, make_rng, resample_means


def draw_right(n_items: int, share: float, seed: int) -> list[float]:
    return [float(x < share) for x in np.random.default_rng(seed).random(n_items)]


def test_resampled_means_have_the_spread_of_a_mean_and_are_paired() -> None:
    values = np.array([draw_right(300, 0.4, 1), draw_right(300, 0.4, 1)]).T
    means = resample_means(values, 4000, make_rng(42, "x"))
    assert means.shape == (4000, 2)
    assert (means[:, 0] == means[:, 1]).all()
    p = values[:, 0].mean()
    assert means[:, 0].mean() == pytest.approx(p, abs=0.003)
    assert means[:, 0].std() == pytest.approx((p * (1 - p) / 300) ** 0.5, rel=0.05)


def test_intervals_agree_with_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(3).beta(2, 3, 250)
    mine = find_interval(resample_means(values[:, None], 10_000, make_rng(42, "f1"))[:, 0], 0.95)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert mine is not None
    assert mine.low == pytest.approx(theirs.low, abs=0.002)
    assert mine.high == pytest.approx(theirs.high, abs=0.002)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(300):
        values = np.array(draw_right(150, 0.37, 1000 + seed))[:, None]
        interval = find_interval(resample_means(values, 400, make_rng(seed, "coverage"))[:, 0], 0.95)
        assert interval is not None
        held += interval.low <= 0.37 <= interval.high
    assert 0.91 <= held / 300 <= 0.98


def test_items_without_a_value_count_in_no_mean() -> None:
    values = np.array([[1.0, 1.0], [0.0, np.nan], [1.0, 1.0], [0.0, 0.0]])
    means = resample_means(values, 3000, make_rng(1, "gaps"))
    assert np.nanmean(means[:, 0]) == pytest.approx(0.5, abs=0.02)
    assert np.nanmean(means[:, 1]) == pytest.approx(2 / 3, abs=0.03)
    assert means[np.isfinite(means[:, 1]), 1].max() <= 1


def test_ratios_over_zero_give_no_interval() -> None:
    draws = np.array([1.0] * 95 + [np.nan] * 5)
    assert find_interval(draws, 0.95) is None
    assert find_interval(np.array([np.inf] + [1.0] * 999), 0.95) is not None
    assert find_interval(np.array([]), 0.95) is None


def test_gains_have_the_spread_of_repeats_in_pairs() -> None:
    base = [0.10, 0.12, 0.11]
    gains = draw_gains([x / 2 for x in base], base, 500, make_rng(42, "pairs"))
    assert gains == pytest.approx(0.5)  # the same repeats of both: the ratio never moves
    alone = draw_gains([0.05, 0.05, 0.05], base, 40_000, make_rng(42, "pairs"))
    assert alone is not None
    error = np.log(base).std(ddof=1) * (np.pi / 2 / 3) ** 0.5
    ends = 1 - np.exp(np.log(0.05 / 0.11) + error * stats.t(2).ppf([0.975, 0.025]))
    found = find_interval(alone, 0.95)
    assert found and (found.low, found.high) == pytest.approx(tuple(ends), abs=0.01)
    wild = draw_gains([1e-9, 1.0, 1e9], [1.0, 1.0, 1.0], 5000, make_rng(42, "wild"))
    assert wild is not None and np.isfinite(wild).all()


def test_one_repeat_tells_nothing_of_the_spread() -> None:
    assert draw_gains([0.05], [0.1], 100, make_rng(1, "x")) is None
    assert draw_gains([0.05, 0.05], [0.1], 100, make_rng(1, "x")) is None


@pytest.mark.parametrize("repeats", [3, 5, 7])
def test_a_gains_interval_holds_the_truth_at_few_repeats(repeats: int) -> None:
    """Two measurements of one model, 3 % noise: each holds the true gain, and they are not told apart."""
    held, told, runs = 0, 0, 300
    for run in range(runs):
        noise = np.random.default_rng([run, repeats])
        gains = []
        for name in ("one", "other"):
            seconds, base = np.exp(0.03 * noise.standard_normal((2, repeats))) * [[0.07], [0.1]]
            drawn = draw_gains(seconds.tolist(), base.tolist(), 1000, make_rng(run, name))
            assert drawn is not None
            gains.append(drawn)
            interval = find_interval(drawn, 0.95)
            assert interval is not None
            held += interval.low <= 0.3 <= interval.high
        apart = find_interval(gains[0] - gains[1], 0.95)
        assert apart is not None
        told += not apart.low <= 0 <= apart.high
    assert 0.92 <= held / (2 * runs) <= 0.99
    assert told / runs <= 0.06


def test_a_generator_is_of_its_seed_and_purpose() -> None:
    draws = [make_rng(seed, purpose).random() for seed, purpose in ((1, "a"), (1, "a"), (1, "b"), (2, "a"))]
    assert draws[0] == draws[1] and len(set(draws)) == 3


class CountingRng:
    """Draws as the generator does, and remembers how much at a time."""

    def __init__(self) -> None:
        self.rng, self.drawn = make_rng(42, "chunks"), list[int]()

    def integers(self, *args: Any, **kwargs: Any) -> np.ndarray:
        drawn = self.rng.integers(*args, **kwargs)
        self.drawn.append(drawn.size)
        return drawn


@pytest.mark.parametrize(
    ("at_once", "drawn"), [(12, [12, 12, 4]), (11, [8, 8, 8, 4]), (4, [4] * 7), (3, [4] * 7), (28, [28])]
)
def test_no_more_is_drawn_at_once_than_allowed_and_the_chunks_change_nothing(
    monkeypatch: pytest.MonkeyPatch, at_once: int, drawn: list[int]
) -> None:
    values = np.array([[1.0], [2.0], [4.0], [8.0]])
    whole = resample_means(values, 7, make_rng(42, "chunks"))
    monkeypatch.setattr(resampling, "CHUNK_DRAWS", at_once)
    rng = CountingRng()
    assert (resample_means(values, 7, rng) == whole).all()  # type: ignore[arg-type]
    assert rng.drawn == drawn


def test_every_item_is_drawn_as_often_as_any_other() -> None:
    values = np.eye(5)  # the mean of a column is its item's share of the draws
    shares = resample_means(values, 20_000, make_rng(42, "shares"))
    assert shares.mean(axis=0) == pytest.approx([0.2] * 5, abs=0.004)
    assert shares.sum(axis=1) == pytest.approx(1.0)


def test_a_resample_without_a_known_value_has_no_mean() -> None:
    means = resample_means(np.array([[1.0], [np.nan]]), 200, make_rng(42, "unknown"))[:, 0]
    assert set(means[np.isfinite(means)]) == {1.0} and 20 < np.isnan(means).sum() < 80  # a quarter


@pytest.mark.filterwarnings("error")
def test_nothing_is_divided_by_zero() -> None:
    quotients = divide(np.array([1.0, 0.0, 3.0, 1.0]), np.array([0.0, 0.0, 1.0, 4.0]))
    assert quotients == pytest.approx([np.nan, np.nan, 3.0, 0.25], nan_ok=True)


class GivenRng:
    """Draws from Student's t as told."""

    def __init__(self, *drawn: float) -> None:
        self.drawn, self.asked = np.array(drawn), list[tuple[int, int]]()

    def standard_t(self, df: int, size: int) -> np.ndarray:
        self.asked.append((df, size))
        return self.drawn


def test_a_gain_by_hand() -> None:
    rng = GivenRng(0.0, 1.0, -2.0)
    seconds = np.exp([0.0, 2.0, 1.0]).tolist()  # log ratios of 0, 2 and 1: median 1, standard deviation 1
    gains = draw_gains(seconds, [1.0] * 3, 3, rng)  # type: ignore[arg-type]
    error = (np.pi / 2 / 3) ** 0.5
    assert gains == pytest.approx(1 - np.exp([1.0, 1 + error, 1 - 2 * error]))
    assert rng.asked == [(2, 3)]


def test_two_pairs_are_enough_for_a_spread() -> None:
    gains = draw_gains([0.05, 0.06], [0.1, 0.1], 100, make_rng(1, "x"))
    assert gains is not None and gains.shape == (100,) and gains.std() > 0


def test_a_gain_drawn_is_bounded_below_alone() -> None:
    wild = draw_gains([1e-9, 1.0, 1e9], [1.0, 1.0, 1.0], 5000, make_rng(42, "wild"))
    assert wild is not None
    assert wild.min() == 1 - np.exp(50.0) and wild.max() == 1.0
    assert 0.4 < (wild > 0).mean() < 0.6  # the median of the pairs' ratios is 1


@pytest.mark.parametrize(
    ("confidence", "low", "high"), [(0.95, 0.025, 0.975), (0.9, 0.05, 0.95), (0.5, 0.25, 0.75)]
)
def test_an_interval_leaves_out_as_much_at_both_ends(confidence: float, low: float, high: float) -> None:
    found = find_interval(np.arange(1001)[::-1] / 1000, confidence)
    assert found is not None and (found.low, found.high) == (low, high)


def test_an_intervals_ends_are_rounded_to_ten_digits() -> None:
    found = find_interval(np.array([1 / 3, 2 / 3]), 1.0)
    assert found is not None and (found.low, found.high) == (0.3333333333, 0.6666666667)


@pytest.mark.parametrize(("without", "is_given"), [(1, True), (2, False)])
def test_one_percent_of_the_draws_may_have_no_value(without: int, is_given: bool) -> None:
    draws = np.array([np.nan] * without + [0.5] * (100 - without))
    assert (find_interval(draws, 0.95) is not None) is is_given
