"""Verdicts against the margin, of benchmarks and of Perf."""

from __future__ import annotations

import numpy as np
import pytest

from lanekit.results.ranking import BenchmarkStatistics, MarginTest, RankedLane, Ranking
from lanekit.results.schema import LaneRecord
from ranker.statistics.difference import Difference, measure_difference
from ranker.statistics.margin import fill_margins, judge_difference

NAN = float("nan")


def fill(
    values: dict[str, dict[str, list[float]]], weights: dict[str, float] | None = None, margin: float = 0.1
) -> dict[str, RankedLane]:
    """Return the lanes with their verdicts; `values` are by benchmark and lane, the baseline's first."""
    names = dict.fromkeys(lane for columns in values.values() for lane in columns)
    lanes = [
        RankedLane(
            rank=None,
            record=LaneRecord(lane=name),
            benchmark_statistics={
                b: BenchmarkStatistics() for b, columns in values.items() if name in columns
            },
        )
        for name in names
    ]
    ranking = Ranking(
        experiment="", lanes=lanes, weights_used=weights or dict.fromkeys(values, 0.5), notes=[]
    )
    arrays = {b: {lane: np.array(v) for lane, v in columns.items()} for b, columns in values.items()}
    fill_margins(ranking, arrays, 0.95, margin)
    assert ranking.margin == margin
    return {lane.record.lane: lane for lane in lanes}


def get(lane: RankedLane, benchmark: str) -> MarginTest:
    test = lane.benchmark_statistics[benchmark].margin_test
    assert test
    return test


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.009, 0.02, "no worse"),
        (-0.009, -0.001, "no worse"),  # told from the baseline, and yet within the margin
        (-0.05, -0.011, "worse"),
        (-0.05, -0.009, "cannot tell"),  # told from the baseline, but not how far
        (-0.02, 0.02, "cannot tell"),
        (-0.01, 0.02, "cannot tell"),
    ],
)
def test_the_verdict_is_on_which_side_of_the_margin_the_interval_lies(
    low: float, high: float, verdict: str
) -> None:
    found = judge_difference(Difference((low + high) / 2, low, high, 100, 0.1), 0.01, 0.95, 0.5)
    assert found.verdict == verdict
    assert (found.interval.low, found.interval.high, found.margin, found.detectable) == (low, high, 0.01, 0.5)
    assert (found.n_items_needed is None) == (verdict != "cannot tell")


def test_a_benchmark_is_judged_by_its_share_of_the_baselines_value() -> None:
    base = [1.0] * 300 + [0.0] * 100
    lane = [0.0] * 3 + [1.0] * 297 + [0.0] * 100
    found = fill({"a": {"baseline": base, "lane": lane}})["lane"]
    test, expected = get(found, "a"), measure_difference(np.array(lane), np.array(base), 0.95)
    assert (test.difference, test.n_items, test.margin) == (-0.0075, 400, 0.075)
    assert (test.interval.low, test.interval.high) == pytest.approx((expected.low, expected.high))
    assert test.verdict == "no worse" and test.detectable == pytest.approx(0.0196, abs=1e-4)
    stricter = get(fill({"a": {"baseline": base, "lane": lane}}, margin=0.01)["lane"], "a")
    assert (stricter.verdict, stricter.margin) == ("cannot tell", 0.0075)
    assert stricter.n_items_needed is None  # the loss seen is the margin itself


def test_items_that_lack_a_value_of_either_are_left_out() -> None:
    found = fill({"a": {"baseline": [1.0, 0, NAN, 1], "lane": [1.0, NAN, 0, 0]}})["lane"]
    assert (get(found, "a").n_items, get(found, "a").difference) == (2, -0.5)
    assert get(found, "a").margin == pytest.approx(0.1)
    none = fill({"a": {"baseline": [NAN, 1.0], "lane": [1.0, NAN]}})["lane"]
    assert none.benchmark_statistics["a"].margin_test is None and none.perf_margin_test is None


def test_perf_is_the_weighted_mean_of_the_benchmarks_that_count() -> None:
    values = {
        "a": {"baseline": [1.0] * 50 + [0.0] * 50, "lane": [0.0] * 10 + [1.0] * 40 + [0.0] * 50},
        "b": {"baseline": [0.8] * 20, "lane": [0.9] * 20},
        "c": {"baseline": [1.0] * 9, "lane": [0.0] * 9},
    }
    lanes = fill(values, {"a": 1.0, "b": 3.0})
    perf = lanes["lane"].perf_margin_test
    assert perf and perf.difference == pytest.approx(0.25 * -0.1 + 0.75 * 0.1)
    assert perf.margin == pytest.approx(0.1 * (0.25 * 0.5 + 0.75 * 0.8))
    assert perf.n_items == 120 and perf.verdict == "no worse"
    assert get(lanes["lane"], "c").verdict == "worse"  # judged too, though it does not count
    assert lanes["baseline"].perf_margin_test is None
    assert lanes["baseline"].benchmark_statistics["a"].margin_test is None


def test_perf_wants_every_benchmark_that_counts() -> None:
    base = [1.0, 0.0] * 10
    values = {"a": {"baseline": base, "lane": base, "other": base}, "b": {"baseline": base, "other": base}}
    lanes = fill(values)
    assert get(lanes["lane"], "a").verdict == "cannot tell" and lanes["lane"].perf_margin_test is None
    assert lanes["other"].perf_margin_test


@pytest.mark.slow
@pytest.mark.parametrize(("n_items", "share"), [(400, 0.05), (2800, 0.02)])
def test_a_lane_that_loses_just_the_margin_is_seldom_called_no_worse(n_items: int, share: float) -> None:
    """At most in one of 40 samples, the baseline's own value drawn as well: the margin is a share of it."""
    rng, samples, no_worse, worse = np.random.default_rng(7), 1500, 0, 0
    loss = 0.02 * 0.4
    p_lost, p_gained = (share + loss) / 2, (share - loss) / 2
    for _ in range(samples):
        lost, gained, kept, _ = rng.multinomial(n_items, [p_lost, p_gained, 0.4 - p_lost, 0.6 - p_gained])
        base = np.zeros(n_items)
        base[: lost + kept] = 1
        lane = base.copy()
        lane[:lost] = 0
        lane[lost + kept : lost + kept + gained] = 1
        found = judge_difference(measure_difference(lane, base, 0.95), 0.02 * base.mean(), 0.95, None)
        no_worse += found.verdict == "no worse"
        worse += found.verdict == "worse"
    assert no_worse / samples <= 0.035 and worse / samples <= 0.035
