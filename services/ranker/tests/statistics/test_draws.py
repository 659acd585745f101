"""Intervals over few draws: by hand, and by simulation of items crossed with draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import BenchmarkResult, LaneRecord
from ranker.scoring.score import rank_lanes
from ranker.statistics.draws import MeanPair, draw_means, draw_perfs
from ranker.statistics.items import ItemValues
from ranker.statistics.lanes import DRAW_NOTE, Resampling, add_statistics
from ranker.statistics.resampling import find_interval, make_rng, resample_means

Make = Callable[..., LaneRecord]


def test_one_replicate_is_its_own_resamples() -> None:
    means = np.array([0.1, 0.2, 0.3])
    assert draw_means([means], [0.2], make_rng(1, "x")) == pytest.approx(means)


def test_equal_replicates_add_nothing() -> None:
    means = np.array([0.1, 0.2, 0.3])
    assert draw_means([means, means], [0.2, 0.2], make_rng(1, "x")) == pytest.approx(means)


@pytest.mark.parametrize("values", [[0.40, 0.44], [0.40, 0.44, 0.45], [0.4, 0.41, 0.43, 0.46, 0.47]])
def test_without_noise_of_items_it_is_students_interval(values: list[float]) -> None:
    members = [np.full(200_000, value) for value in values]
    found = find_interval(draw_means(members, values, make_rng(1, "x")), 0.9)
    expected = stats.t.interval(0.9, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found and (found.low, found.high) == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("n_values", [0, 1, 3])
def test_values_that_are_not_the_replicates_are_refused(n_values: int) -> None:
    with pytest.raises(ValueError, match="2 replicates"):
        draw_means([np.zeros(3)] * 2, [0.0] * n_values, make_rng(1, "x"))
    with pytest.raises(ValueError, match="0 replicates"):
        draw_means([], [], make_rng(1, "x"))


def hold(
    n_items: int, n_draws: int, spread: float, runs: int, *, is_binary: bool = False
) -> tuple[float, float]:
    """Return how often the interval holds the truth: with the draws' part, and with the items' alone.

    Items differ by 0.35, a reply from draw to draw by 0.2 more, a draw as a whole by `spread`.
    """
    held = np.zeros(2)
    for run in range(runs):
        rng = np.random.default_rng([run, n_items, n_draws])
        item, draw = rng.normal(0, 0.35, (n_items, 1)), rng.normal(0, spread, (1, n_draws))
        values = 0.5 + item + draw + rng.normal(0, 0.2, (n_items, n_draws))
        if is_binary:
            values = (values > 0.5).astype(float)
        means = list(resample_means(values, 400, make_rng(run, "items")).T)
        drawn = draw_means(means, values.mean(axis=0).tolist(), make_rng(run, "draws"))
        for place, draws in enumerate((drawn, np.mean(means, axis=0))):
            interval = find_interval(draws, 0.95)
            assert interval is not None
            held[place] += interval.low <= 0.5 <= interval.high
    with_draws, items_alone = held / runs
    return float(with_draws), float(items_alone)


@pytest.mark.slow
@pytest.mark.parametrize("n_draws", [2, 3, 5])
def test_the_interval_holds_the_truth_where_that_of_the_items_does_not(n_draws: int) -> None:
    with_draws, items_alone = hold(400, n_draws, 0.06, 200)
    assert with_draws >= 0.91
    assert items_alone < 0.85


@pytest.mark.slow
def test_the_interval_is_not_too_wide_where_draws_hardly_differ() -> None:
    with_draws, items_alone = hold(400, 3, 0.0, 200)
    assert 0.91 <= items_alone <= 0.99
    assert with_draws >= items_alone


@pytest.mark.slow
@pytest.mark.parametrize(("n_draws", "is_binary"), [(2, False), (3, True), (5, False)])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.05])
def test_coverage_over_draws_and_spreads(n_draws: int, spread: float, is_binary: bool) -> None:
    with_draws, _ = hold(300, n_draws, spread, 500, is_binary=is_binary)
    assert with_draws >= 0.93  # of 95 %; one standard error of 500 runs is 1 %


def make_lane(name: str, values: np.ndarray, make_record: Make) -> tuple[LaneRecord, dict[str, ItemValues]]:
    """Return a record of one benchmark with its items."""
    record = make_record(name)
    result = BenchmarkResult(metric="accuracy", version=1, value=float(values.mean()), n_items=len(values))
    record.benchmarks = {"a": result}
    keys = tuple((f"id{n}", n) for n in range(len(values)))
    return record, {"a": ItemValues(keys, values, ("same",) * len(values))}


def compute(lanes: dict[str, np.ndarray], make_record: Make) -> Ranking:
    made = {name: make_lane(name, values, make_record) for name, values in lanes.items()}
    ranking = rank_lanes([record for record, _ in made.values()], {"a": 0.25})
    items = {name: found for name, (_, found) in made.items()}
    add_statistics(ranking, items, 0.5, Resampling(resamples=2000))
    return ranking


def find(ranking: Ranking, name: str) -> RankedLane:
    return next(lane for lane in ranking.lanes if lane.record.lane == name)


def draw_right(share: float, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).random(400) < share).astype(float)


def test_a_lanes_intervals_widen_by_its_draws_and_tie_it(make_record: Make) -> None:
    """Two lanes told apart by their items are not where their draws differ by as much."""
    right, less = draw_right(0.6), draw_right(0.5)  # one a subset of the other: paired
    sure = compute({"baseline": right, "good": right, "bad": less}, make_record)
    assert find(sure, "good").tied_with == []
    mixed = {"baseline": right, "good": right, "good-r2": less, "good-r3": right, "bad": less}
    ranking = compute(mixed, make_record)
    good = find(ranking, "good")
    assert good.tied_with == ["bad"] and find(ranking, "bad").tied_with == ["good"]
    once = find(sure, "good")
    for name in ("score_interval", "perf_norm_interval"):
        wide, narrow = getattr(good, name), getattr(once, name)
        assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert good.score is not None and good.score_interval
    assert good.score_interval.low < good.score < good.score_interval.high
    assert good.replicates and good.replicates.perf_interval and good.perf is not None
    assert good.replicates.perf_interval.low < good.perf < good.replicates.perf_interval.high
    assert DRAW_NOTE in ranking.rules and DRAW_NOTE not in sure.rules


def test_perfs_verdict_is_of_the_mean_over_the_draws(make_record: Make) -> None:
    right, less = draw_right(0.6), draw_right(0.5)
    sure = compute({"baseline": right, "good": right}, make_record)
    test = find(sure, "good").perf_margin_test
    assert test and test.difference == 0
    mixed = compute({"baseline": right, "good": right, "good-r2": less, "good-r3": right}, make_record)
    lane, base = find(mixed, "good"), mixed.lanes[0]
    found = lane.perf_margin_test
    assert found and found.verdict == "cannot tell" and found.margin == test.margin
    assert lane.perf is not None and base.perf is not None
    assert found.difference == pytest.approx(lane.perf - base.perf)
    assert found.interval.low < found.difference < found.interval.high
    assert (found.detectable, found.n_items_needed, found.n_items) == (None, None, test.n_items)
    bad = compute({"baseline": right, "bad": less, "bad-r2": less}, make_record)
    assert (verdict := find(bad, "bad").perf_margin_test) and verdict.verdict == "worse"


def test_other_lanes_numbers_do_not_change_by_anothers_replicates(make_record: Make) -> None:
    right, less = draw_right(0.6), draw_right(0.5)
    alone = compute({"baseline": right, "good": right, "bad": less}, make_record)
    beside = compute({"baseline": right, "good": right, "good-r2": less, "bad": less}, make_record)
    assert find(alone, "bad").score_interval == find(beside, "bad").score_interval
    assert find(alone, "bad").benchmark_statistics == find(beside, "bad").benchmark_statistics


def test_a_replicate_without_items_leaves_the_lane_without_an_interval(make_record: Make) -> None:
    right = draw_right(0.6)
    made = {name: make_lane(name, right, make_record) for name in ("baseline", "a", "a-r2")}
    ranking = rank_lanes([record for record, _ in made.values()], {"a": 1.0})
    items = {name: found for name, (_, found) in made.items() if name != "a-r2"}
    add_statistics(ranking, items, 0.5, Resampling(resamples=100))
    assert find(ranking, "a").score_interval is None
    assert find(ranking, "a").perf_margin_test is None, "a mean is not judged by one of its replicates"
    assert "No per-item outputs, so no interval, test or tie: a-r2." in ranking.notes


def test_perf_is_weighted_and_its_ratio_is_of_the_same_items(make_record: Make) -> None:
    ones = np.array([0.5, 0.25])
    common = {
        "a": {"x": MeanPair(np.array([0.2, 0.4]), ones)},
        "b": {"x": MeanPair(np.array([0.6, 0.4]), ones)},
    }
    lane = RankedLane(rank=1, record=make_record("x"), perf=0.3, score=0.5)
    drawn = draw_perfs(lane, common, {"a": 1.0, "b": 3.0}, 0.5, 42)
    assert drawn
    assert drawn.perf == pytest.approx([0.5, 0.4]) and drawn.norm == pytest.approx([1.0, 1.6])
    assert drawn.difference == pytest.approx([0.0, 0.15])
    assert draw_perfs(lane, {"a": common["a"]}, {"a": 1.0, "b": 3.0}, 0.5, 42) is None
