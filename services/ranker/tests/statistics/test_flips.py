"""Which items a lane lost and gained against the baseline, and the interval of its speed gain."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from lanekit.results.ranking import RankedLane
from lanekit.results.schema import BenchmarkResult, LaneRecord
from ranker.scoring.score import rank_lanes
from ranker.statistics.items import ItemValues
from ranker.statistics.lanes import Resampling, add_statistics

BASE = {"a": 1.0, "b": 0.0, "c": 1.0, "d": 0.0, "e": math.nan, "f": 1.0}
MINE = {"f": 1.0, "a": 0.0, "b": 1.0, "c": 1.0, "d": 0.0, "e": 1.0}  # asked in another order


def make_items(values: dict[str, float]) -> dict[str, ItemValues]:
    keys = tuple((name, ord(name)) for name in values)
    return {"kmmlu_pro": ItemValues(keys, np.array(list(values.values())), ("same",) * len(keys))}


@pytest.fixture
def rank(make_record: Callable[..., LaneRecord]) -> Callable[[list[float]], RankedLane]:
    """Rank one lane whose repeats took so long, the baseline's 0.1 s/token each."""

    def run(repeats: list[float]) -> RankedLane:
        records = [make_record("baseline", seconds=0.1), make_record("lane", seconds=repeats[0])]
        for record, values in zip(records, (BASE, MINE), strict=True):
            value = float(np.nanmean(list(values.values())))
            record.benchmarks = {
                "kmmlu_pro": BenchmarkResult(metric="accuracy", version=1, value=value, n_items=6)
            }
        assert records[1].speed
        records[1].speed.s_per_token_all = repeats
        records[1].speed.baseline_s_per_token_all = [0.1] * len(repeats)
        ranking = rank_lanes(records, {"kmmlu_pro": 1.0})
        items = {"baseline": make_items(BASE), "lane": make_items(MINE)}
        add_statistics(ranking, items, 0.5, Resampling(resamples=2000))
        return next(lane for lane in ranking.lanes if lane.record.lane == "lane")

    return run


def test_items_are_named_that_were_lost_and_gained(rank: Callable[[list[float]], RankedLane]) -> None:
    found = rank([0.05, 0.05, 0.05]).benchmark_statistics["kmmlu_pro"]
    assert (found.worse_items, found.better_items) == (["a"], ["b"])  # of `e` the baseline has no value
    assert (found.n_worse, found.n_better) == (1, 1)


def test_the_speed_gains_interval_follows_the_repeats(rank: Callable[[list[float]], RankedLane]) -> None:
    narrow, wide = (
        rank(repeats).speed_norm_interval for repeats in ([0.05, 0.0501, 0.0499], [0.05, 0.055, 0.045])
    )
    assert narrow and wide
    assert wide.low < narrow.low < 0.5 < narrow.high < wide.high


def test_a_lane_timed_once_has_no_interval_of_speed(rank: Callable[[list[float]], RankedLane]) -> None:
    lane = rank([0.05])
    assert lane.score and lane.speed_norm_interval is None
