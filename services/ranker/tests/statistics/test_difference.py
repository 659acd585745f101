"""Intervals of paired differences: by their definition, by hand, and their coverage in simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats

from ranker.statistics.difference import (
    Difference,
    combine_differences,
    compute_score,
    find_graded_interval,
    find_quantile,
    find_score_interval,
    measure_difference,
)

Z = 1.959963984540054


def compute_score_by_search(n_better: int, n_worse: int, n_items: int, difference: float) -> float:
    """Tango's statistic with the likeliest probabilities under the hypothesis found numerically."""

    def fall_short(p_worse: float) -> float:
        p_better = p_worse + difference
        terms = (
            (n_better, p_better),
            (n_worse, p_worse),
            (n_items - n_better - n_worse, 1 - p_better - p_worse),
        )
        return -math.fsum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    found = optimize.minimize_scalar(
        fall_short, bounds=(low, high), options={"xatol": 1e-12}, method="bounded"
    )
    variance = n_items * (2 * found.x + difference - difference**2)
    return float((n_better - n_worse - n_items * difference) / math.sqrt(variance))


@pytest.mark.parametrize("counts", [(4, 19, 200), (12, 9, 200), (0, 15, 160), (1, 3, 10), (30, 22, 2822)])
def test_the_score_interval_ends_where_the_score_is_z(counts: tuple[int, int, int]) -> None:
    low, high = find_score_interval(*counts, 0.95)
    assert low < (counts[0] - counts[1]) / counts[2] < high
    for end, expected in ((low, Z), (high, -Z)):
        assert compute_score(*counts, end) == pytest.approx(expected, abs=1e-6)
        assert compute_score_by_search(*counts, end) == pytest.approx(expected, abs=1e-3)


def test_the_score_interval_turns_with_its_sides_and_widens_with_confidence() -> None:
    low, high = find_score_interval(4, 19, 200, 0.95)
    assert find_score_interval(19, 4, 200, 0.95) == pytest.approx((-high, -low))
    wider = find_score_interval(4, 19, 200, 0.99)
    assert wider[0] < low and high < wider[1]


@pytest.mark.parametrize("n_items", [1, 60, 2822])
def test_items_that_all_agree_have_the_same_width_right_or_wrong_and_graded(n_items: int) -> None:
    reach = Z**2 / (n_items + Z**2)
    assert find_score_interval(0, 0, n_items, 0.95) == pytest.approx((-reach, reach), abs=1e-9)
    low, high = find_graded_interval(np.zeros(n_items), 0.95)
    assert low == -high and reach < high < reach * 1.7  # Student's t in place of the normal
    if n_items > 1000:
        assert high == pytest.approx(reach, rel=0.01)


@pytest.mark.parametrize(("counts", "low", "high"), [((7, 0, 7), 0.29, 1.0), ((0, 7, 7), -1.0, -0.29)])
def test_an_interval_stays_within_one_where_every_item_differs(
    counts: tuple[int, int, int], low: float, high: float
) -> None:
    assert find_score_interval(*counts, 0.95) == pytest.approx((low, high), abs=0.01)


def test_a_difference_by_hand() -> None:
    lane, base = np.array([1.0, 0, 0, 0, 1, 1, 0, 1]), np.array([1.0, 1, 1, 0, 0, 1, 0, 1])
    found = measure_difference(lane, base, 0.95)
    assert (found.value, found.n_items, found.mean_square, found.step) == (-1 / 8, 8, 3 / 8, 1.0)
    assert (found.low, found.high) == find_score_interval(1, 2, 8, 0.95)
    graded = measure_difference(lane * 0.5, base * 0.5, 0.95)
    assert (graded.value, graded.mean_square, graded.step) == (-1 / 16, 3 / 32, 0.5)
    assert (graded.low, graded.high) == find_graded_interval((lane - base) * 0.5, 0.95)
    assert measure_difference(base * 0.5, base * 0.5, 0.95).step == 1.0
    with pytest.raises(ValueError, match="items"):
        measure_difference(lane[:0], base[:0], 0.95)


def test_a_graded_interval_by_hand_and_near_the_t_interval_of_many_items() -> None:
    differences = np.array([0.2, -0.1, 0.0, 0.4])
    added = Z**2
    total, centre = 4 + added, 0.5 / (4 + added)
    variance = (0.21 + added * 0.16) / total - centre**2
    reach = stats.t.ppf(0.975, total - 1) * math.sqrt(variance / total)
    assert find_graded_interval(differences, 0.95) == pytest.approx((centre - reach, centre + reach))
    many = np.random.default_rng(3).normal(-0.02, 0.1, 5000)
    expected = stats.t.interval(0.95, 4999, many.mean(), many.std(ddof=1) / math.sqrt(5000))
    assert find_graded_interval(many, 0.95) == pytest.approx(expected, abs=2e-4)


def test_a_weighted_mean_of_differences_by_hand() -> None:
    found = {
        "a": Difference(-0.02, -0.05, 0.03, 100, 0.04),
        "b": Difference(0.01, 0.0, 0.02, 300, 0.03, 0.5),
        "unused": Difference(-1, -1, -1, 9, 1),
    }
    mean = combine_differences(found, {"a": 1.0, "b": 3.0})
    assert mean.value == pytest.approx(0.25 * -0.02 + 0.75 * 0.01)
    assert mean.low == pytest.approx(mean.value - math.hypot(0.25 * 0.03, 0.75 * 0.01))
    assert mean.high == pytest.approx(mean.value + math.hypot(0.25 * 0.05, 0.75 * 0.01))
    assert mean.n_items == 400
    assert mean.mean_square / 400 == pytest.approx(0.25**2 * 0.04 / 100 + 0.75**2 * 0.03 / 300)
    assert mean.step / 400 == pytest.approx(math.hypot(0.25 / 100, 0.75 * 0.5 / 300))
    alone = combine_differences(found, {"a": 0.5})
    assert (alone.value, alone.low, alone.high, alone.n_items) == pytest.approx((-0.02, -0.05, 0.03, 100))
    assert (alone.mean_square, alone.step) == pytest.approx((0.04, 1.0))
    with pytest.raises(KeyError):
        combine_differences(found, {"a": 1.0, "c": 1.0})


def compute_misses(n_items: int, p_better: float, p_worse: float) -> tuple[float, float]:
    """Return, over all likely samples, how often the true difference lies below the interval and above it."""
    below = above = 0.0
    likely = stats.binom.pmf(np.arange(n_items + 1), n_items, p_better + p_worse)
    for n_differ in np.flatnonzero(likely > 1e-5):
        shares = likely[n_differ] * stats.binom.pmf(
            np.arange(n_differ + 1), n_differ, p_better / (p_better + p_worse)
        )
        for n_better in np.flatnonzero(shares > 1e-6):
            low, high = find_score_interval(int(n_better), int(n_differ - n_better), n_items, 0.95)
            below += shares[n_better] * (p_better - p_worse < low - 1e-9)
            above += shares[n_better] * (p_better - p_worse > high + 1e-9)
    return below, above


@pytest.mark.parametrize(
    ("n_items", "p_better", "p_worse"), [(60, 0.0, 0.05), (200, 0.0, 0.02), (2800, 0.0, 0.001)]
)
def test_a_true_loss_seldom_lies_below_the_interval_where_few_items_differ(
    n_items: int, p_better: float, p_worse: float
) -> None:
    """It is what a false "no worse" rests on."""
    below, above = compute_misses(n_items, p_better, p_worse)
    assert below <= 0.05 and above <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_items", "p_better", "p_worse"), [(60, 0.05, 0.1), (200, 0.08, 0.1), (1000, 0.02, 0.02)]
)
def test_the_score_interval_holds_the_truth_as_often_as_it_says(
    n_items: int, p_better: float, p_worse: float
) -> None:
    below, above = compute_misses(n_items, p_better, p_worse)
    assert 0.015 <= below <= 0.035 and 0.015 <= above <= 0.035


Draw = Callable[[np.random.Generator, int], np.ndarray]


def draw_few_losses(rng: np.random.Generator, n_items: int) -> np.ndarray:
    return np.where(rng.random(n_items) < 0.1, -rng.random(n_items), 0.0)


def draw_many(rng: np.random.Generator, n_items: int) -> np.ndarray:
    return np.clip(rng.normal(-0.05, 0.2, n_items), -1, 1)


@pytest.mark.parametrize(("draw", "truth"), [(draw_few_losses, -0.05), (draw_many, -0.05)])
def test_the_graded_interval_holds_the_truth_as_often_as_it_says(draw: Draw, truth: float) -> None:
    rng, samples = np.random.default_rng(11), 500
    ends = np.array([find_graded_interval(draw(rng, 60), 0.95) for _ in range(samples)])
    assert (truth < ends[:, 0]).mean() <= 0.05 and (truth > ends[:, 1]).mean() <= 0.05
    assert 0.93 <= ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean() <= 0.99


@pytest.mark.slow
def test_the_interval_of_a_mean_of_benchmarks_holds_the_truth_as_often_as_it_says() -> None:
    rng, samples, held = np.random.default_rng(12), 300, 0
    truth = (-0.02 - 0.05) / 2
    for _ in range(samples):
        n_worse, n_better, _ = rng.multinomial(400, [0.06, 0.04, 0.9])
        low, high = find_score_interval(n_better, n_worse, 400, 0.95)
        seen = (n_better - n_worse) / 400
        graded = draw_many(rng, 100)
        found = {
            "a": Difference(seen, low, high, 400, 0.1),
            "b": Difference(float(graded.mean()), *find_graded_interval(graded, 0.95), 100, 0.04),
        }
        mean = combine_differences(found, {"a": 0.5, "b": 0.5})
        held += mean.low <= truth <= mean.high
    assert 0.92 <= held / samples <= 0.985


def test_the_quantile_is_of_two_sides() -> None:
    assert find_quantile(0.95) == pytest.approx(Z)
