"""Whether a lane's loss is below the margin: the verdicts on each benchmark and on Perf. Pure.

A lane is no worse where the whole interval of its difference from the baseline lies above −margin, worse
where it lies below, and cannot be told otherwise: the two one-sided tests at (1 − confidence) / 2 that are
customary for non-inferiority (ICH E9, 1998; Piaggio and others 2012, JAMA 308:2594, the CONSORT extension).
So a lane may be told from the baseline and yet be no worse, or not be told from it and yet not be known to be
no worse. The margin is a share of the baseline's value on these items, taken as a fixed number: its own error
moves a margin of 1 % by some hundredths of itself. Verdicts are not adjusted for the number of lanes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lanekit.results.ranking import Interval, MarginTest, Ranking, Verdict
from ranker.statistics.difference import Difference, combine_differences, measure_difference
from ranker.statistics.power import combine_detectable, count_needed_items, find_detectable
from ranker.statistics.resampling import DECIMALS, find_interval

CANNOT_TELL: Verdict = "cannot tell"
Columns = Mapping[str, np.ndarray]  # by lane, the values of one benchmark's items in the baseline's order


def fill_margins(ranking: Ranking, values: Mapping[str, Columns], confidence: float, margin: float) -> None:
    """Give each lane its verdicts; `values` are by benchmark, NaN where an item has no value.

    Items without a value of both are left out. Perf's verdict wants all the benchmarks that count; `margin`
    is a fraction of the baseline's value.
    """
    ranking.margin = margin
    base = ranking.lanes[0].record.lane
    for lane in ranking.lanes[1:]:
        pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, columns in values.items():
            mine, theirs = columns.get(lane.record.lane), columns.get(base)
            if mine is None or theirs is None:
                continue
            known = np.isfinite(mine) & np.isfinite(theirs)
            if known.any():
                pairs[name] = mine[known], theirs[known]
                test = judge_values(*pairs[name], margin, confidence)
                lane.benchmark_statistics[name].margin_test = test
        lane.perf_margin_test = judge_mean(pairs, ranking.weights_used, margin, confidence)


def judge_mean(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    weights: Mapping[str, float],
    margin: float,
    confidence: float,
) -> MarginTest | None:
    """Return the verdict on the weighted mean of the benchmarks; None where one that counts is missing.

    `pairs` are the lane's and the baseline's values of the same items, by benchmark.
    """
    if not weights or not all(name in pairs for name in weights):
        return None
    found = {name: measure_difference(*pairs[name], confidence) for name in weights}
    base = math.fsum(weight * float(pairs[name][1].mean()) for name, weight in weights.items())
    return judge_difference(
        combine_differences(found, weights),
        margin * base / math.fsum(weights.values()),
        confidence,
        combine_detectable(found, weights, confidence),
    )


def judge_draws(
    first: MarginTest, difference: float, draws: np.ndarray, confidence: float
) -> MarginTest | None:
    """Return the verdict on a mean over replicates, of draws (resamples,) of its difference (see draws).

    `first` is the first replicate's: the margin is the same, it is the baseline's. What the items could show
    says nothing of other draws, and no number of items settles what draws leave open: both are None.
    """
    interval = find_interval(draws, confidence)
    if interval is None:
        return None
    return MarginTest(
        difference=round(difference, DECIMALS),
        interval=interval,
        margin=first.margin,
        verdict=find_verdict(interval.low, interval.high, first.margin),
        n_items=first.n_items,
    )


def judge_values(lane: np.ndarray, base: np.ndarray, margin: float, confidence: float) -> MarginTest:
    """Return the verdict on two columns of values (n_items,); `margin` is a fraction of the second's mean."""
    found = measure_difference(lane, base, confidence)
    return judge_difference(
        found, margin * float(base.mean()), confidence, find_detectable(found, confidence)
    )


def judge_difference(
    found: Difference, margin: float, confidence: float, detectable: float | None
) -> MarginTest:
    """Return the verdict on a difference; `margin` is the loss allowed, in the values' own unit."""
    verdict = find_verdict(found.low, found.high, margin)
    is_open = verdict == CANNOT_TELL
    return MarginTest(
        difference=round(found.value, DECIMALS),
        interval=Interval(low=round(found.low, DECIMALS), high=round(found.high, DECIMALS)),
        margin=round(margin, DECIMALS),
        verdict=verdict,
        n_items=found.n_items,
        detectable=None if detectable is None else round(detectable, DECIMALS),
        n_items_needed=count_needed_items(found, margin, confidence) if is_open else None,
    )


def find_verdict(low: float, high: float, margin: float) -> Verdict:
    """Return on which side of −`margin` the interval of a difference lies."""
    if low > -margin:
        return "no worse"
    return "worse" if high < -margin else CANNOT_TELL
