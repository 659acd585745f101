"""What a ranking's numbers are worth: intervals, paired tests, ties and the Pareto front.

All resamples are drawn per benchmark, the same items for every lane and the baseline, so that differences and
ratios are paired. A score's resample has resampled items and, of the lane's own sitting, resampled repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lanekit.results.ranking import BenchmarkStatistics, RankedLane, Ranking
from lanekit.results.schema import FAILED
from ranker.scoring.front import mark_front
from ranker.scoring.pooling import Pool, pool_equal_shapes
from ranker.scoring.score import get_form
from ranker.statistics.draws import MeanPair, draw_perfs
from ranker.statistics.items import LaneItems
from ranker.statistics.margin import fill_margins, judge_draws
from ranker.statistics.resampling import divide, draw_gains, find_interval, make_rng, resample_means
from ranker.statistics.significance import adjust_holm, compare_pairs

NAMED_LANES = 4
SITTING_NOTE = (
    "A score's interval holds the choice of the items (resampled) and the noise between the repeats of one "
    "sitting (Student's t on the pairs' log ratios: few repeats make it wide); not what would change from "
    "sitting to sitting, nor the choice of calibration or training data."
)
DRAW_NOTE = (
    "The intervals of Perf and score of a lane with replicates hold the choice of the draw as well "
    "(Student's t over the replicates: two make it very wide, and of a lane that was drawn once nothing "
    "is known of it)."
)
TIED_RULE = (
    "Two lanes are not told apart (≈) where the {percent} % interval of the difference of their scores, on "
    "the same resamples, holds 0, and so for any two of them and the lanes ranked between them. Lanes "
    "without an interval are passed over. The pairs are not adjusted for their number."
)


@dataclass(frozen=True)
class Resampling:
    """How intervals are made; `margin` is the loss that counts as none, as a fraction of the baseline."""

    resamples: int = 10_000
    confidence: float = 0.95
    seed: int = 42
    margin: float = 0.01


@dataclass(frozen=True)
class Paired:
    """One benchmark: by lane the values (n_items,) and their resampled means (resamples,), NaN left out.

    `ids` are the items', in the values' order.
    `common` holds the lane's and the baseline's resampled means over the items that have a value of both.
    """

    base: str
    ids: tuple[str, ...]
    values: dict[str, np.ndarray]
    means: dict[str, np.ndarray]
    common: dict[str, MeanPair]

    def find_known(self, lane: str) -> np.ndarray:
        """Return for each item (n_items,) whether it has a value of both the lane and the baseline."""
        return np.isfinite(self.values[lane]) & np.isfinite(self.values[self.base])


def add_statistics(
    ranking: Ranking,
    items: Mapping[str, LaneItems],
    quality_weight: float,
    method: Resampling,
) -> None:
    """Fill in the statistics of a ranking's lanes, and its notes; `items` holds what is known, by lane.

    A lane without its items gets none, and a note says so.
    """
    mark_front(ranking.lanes)
    base = ranking.lanes[0]
    usable, notes = select_items(ranking, items)
    paired = {
        name: pair_items(name, base.record.lane, usable, method) for name in usable.get(base.record.lane, {})
    }
    for name, benchmark in paired.items():
        fill_benchmark(ranking, name, benchmark, method)
        notes += warn_of_unrated(name, benchmark)
        unpaired = [lane for lane, found in usable.items() if name in found and lane not in benchmark.values]
        if unpaired:
            notes.append(
                f"Asked other items of {name} than the baseline, and not compared: {_shorten(unpaired)}."
            )
    fill_margins(ranking, {n: found.values for n, found in paired.items()}, method.confidence, method.margin)
    pools = pool_equal_shapes([lane.record for lane in ranking.lanes], base.record.lane)
    scores = {}
    timed_once = []
    for lane in ranking.lanes:
        drawn = draw_scores(lane, base, paired, ranking.weights_used, quality_weight, method, pools)
        if drawn is None or lane is base:
            continue
        perf_norm, score = drawn
        gains = draw_speeds(lane, method, pools)
        lane.speed_norm_interval = None if gains is None else find_interval(gains, method.confidence)
        lane.perf_norm_interval = find_interval(perf_norm, method.confidence)
        if score is None:
            timed_once.append(lane.record.lane)
        else:
            scores[lane.record.lane] = score
            lane.score_interval = find_interval(score, method.confidence)
    if timed_once:
        notes.append(f"Timed once, so no interval of speed and score, and no tie: {_shorten(timed_once)}.")
    find_ties(ranking, scores, method.confidence)
    if scores:
        is_repeated = any(lane.replicates and lane.replicates.perf for lane in ranking.lanes)
        ties = TIED_RULE.format(percent=f"{100 * method.confidence:g}")
        ranking.rules[:0] = [SITTING_NOTE, *([DRAW_NOTE] if is_repeated else []), ties]
    ranking.notes[:0] = notes


def select_items(ranking: Ranking, items: Mapping[str, LaneItems]) -> tuple[dict[str, LaneItems], list[str]]:
    """Return the items that fit their records, and notes on the lanes and benchmarks that have none."""
    usable: dict[str, LaneItems] = {}
    without, otherwise = [], []
    base = ranking.lanes[0].record
    for lane in ranking.evaluated:
        name = lane.record.lane
        valued = {n for n, result in lane.record.benchmarks.items() if result.value is not None}
        if not valued or lane.record.status in FAILED:
            continue
        if not items.get(name):
            without.append(name)
            continue
        for benchmark in sorted(valued):
            found = items[name].get(benchmark)
            form = get_form(base, benchmark)
            if form is not None and get_form(lane.record, benchmark) != form:
                otherwise.append(f"{name} ({benchmark})")
            elif found is not None:
                usable.setdefault(name, {})[benchmark] = found
    notes = []
    if without:
        notes.append(f"No per-item outputs, so no interval, test or tie: {_shorten(without)}.")
    if otherwise:
        notes.append(
            "Scored otherwise than the baseline (version, metric, items or judge), and not compared: "
            f"{_shorten(otherwise)}."
        )
    return usable, notes


def pair_items(name: str, base: str, usable: Mapping[str, LaneItems], method: Resampling) -> Paired:
    """Pair one benchmark's items and resample them; a lane that was asked other items is left out."""
    asked = usable[base][name]
    values = {base: asked.values}
    for lane, found in usable.items():
        if lane != base and name in found and found[name].is_asked_as(asked):
            values[lane] = found[name].align(asked.keys)
    columns = dict(values)  # by lane; by lane and whose, over the items known of both
    for lane, mine in values.items():
        known = np.isfinite(mine) & np.isfinite(asked.values)
        for whose, column in (("lane", mine), ("base", asked.values)):
            if (known != np.isfinite(column)).any():  # pragma: no mutate (else the column is there)
                columns[f"{lane}/{whose}"] = np.where(known, column, np.nan)
    rng = make_rng(method.seed, f"items of {name}")
    drawn = resample_means(np.column_stack(list(columns.values())), method.resamples, rng)
    means = {column: drawn[:, place] for place, column in enumerate(columns)}
    common = {
        lane: MeanPair(means.get(f"{lane}/lane", means[lane]), means.get(f"{lane}/base", means[base]))
        for lane in values
    }
    ids = tuple(item for item, _ in asked.keys)
    return Paired(base, ids, values, {lane: means[lane] for lane in values}, common)


def warn_of_unrated(name: str, paired: Paired) -> list[str]:
    """Return a warning where a lane lacks a value of other items than the baseline does."""
    known = {lane: np.isfinite(values) for lane, values in paired.values.items()}
    n_items = len(known[paired.base])
    unlike = [
        f"{lane} {n_items - int(mine.sum())}"
        for lane, mine in known.items()
        if (mine != known[paired.base]).any()
    ]
    if not unlike:
        return []
    n_base = n_items - int(known[paired.base].sum())
    return [
        f"Of the {n_items} items of {name} other ones have no rating than the baseline's {n_base}: "
        f"{_shorten(unlike)}. Values, Perf and score are over the items rated of each; recovery, Δ, tests, "
        "intervals and ties over those rated of both."
    ]


def fill_benchmark(ranking: Ranking, name: str, paired: Paired, method: Resampling) -> None:
    """Give each lane its statistics of one benchmark; Holm's adjustment is over the lanes compared."""
    p_values: dict[str, float] = {}
    for lane in ranking.lanes:
        lane_name = lane.record.lane
        if lane_name not in paired.values:
            continue
        found = BenchmarkStatistics(interval=find_interval(paired.means[lane_name], method.confidence))
        lane.benchmark_statistics[name] = found
        known = paired.find_known(lane_name)
        if lane is ranking.lanes[0] or not known.any():
            continue
        values, base_values = paired.values[lane_name][known], paired.values[paired.base][known]
        value, base_value = float(values.mean()), float(base_values.mean())
        found.difference = round(value - base_value, 12)
        ids = np.array(paired.ids)[known]
        found.better_items, found.worse_items = (
            [str(item) for item in ids[is_one]] for is_one in (values > base_values, values < base_values)
        )
        found.n_better, found.n_worse = len(found.better_items), len(found.worse_items)
        if base_value > 0:
            found.recovery = value / base_value
            ratios = divide(*paired.common[lane_name])
            found.recovery_interval = find_interval(ratios, method.confidence)
        rng = make_rng(method.seed, f"signs of {name}, {lane_name}")
        found.test, found.p_value = compare_pairs(values, base_values, method.resamples, rng)
        p_values[lane_name] = found.p_value
    adjusted = adjust_holm(p_values)
    for lane in ranking.lanes[1:]:
        if lane.record.lane in adjusted:
            lane.benchmark_statistics[name].p_adjusted = adjusted[lane.record.lane]


def draw_scores(
    lane: RankedLane,
    base: RankedLane,
    paired: Mapping[str, Paired],
    weights: Mapping[str, float],
    quality_weight: float,
    method: Resampling,
    pools: Mapping[str, Pool],
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Return a lane's drawn Perf/Perf_base and scores (resamples,); None without a score or its items.

    The scores alone are None where the lane was timed once. Gives replicates the interval of their Perf.
    """
    if lane.score is None:
        return None
    assert base.perf  # a score is over a baseline's Perf
    common = {name: benchmark.common for name, benchmark in paired.items()}
    perfs = draw_perfs(lane, common, weights, base.perf, method.seed)
    if lane.replicates and lane.replicates.perf:
        first, lane.perf_margin_test = (
            lane.perf_margin_test,
            None,
        )  # a mean is not judged by its first's items
        if perfs is not None:
            lane.replicates.perf_interval = find_interval(perfs.perf, method.confidence)
            loss = lane.replicates.perf.mean - base.perf
            if first is not None:
                lane.perf_margin_test = judge_draws(first, loss, perfs.difference, method.confidence)
    if perfs is None:
        return None
    perf_norm = perfs.norm
    gains = draw_speeds(lane, method, pools)
    if gains is None:
        return perf_norm, None
    return perf_norm, np.maximum(quality_weight * perf_norm + (1 - quality_weight) * gains, 0.0)


def draw_speeds(lane: RankedLane, method: Resampling, pools: Mapping[str, Pool]) -> np.ndarray | None:
    """Return draws (resamples,) of a scored lane's speed gain; None where it was timed once.

    Lanes that share a speed share its draws: the difference of their scores is then their quality's alone.
    """
    speed = lane.record.speed
    assert speed  # a score is of a speed, and of a benchmark
    pool = pools.get(lane.record.lane)
    pairs = pool.forms.get(speed.form) if pool else None
    drawn_for = pool.lanes if pool and pairs else (lane.record.lane,)
    together = ", ".join(drawn_for)  # pragma: no mutate (a part of a seed: any text that no other draw has)
    rng = make_rng(method.seed, f"repeats of {together}")
    mine, theirs = pairs or (speed.s_per_token_all, speed.baseline_s_per_token_all)
    return draw_gains(mine, theirs, method.resamples, rng)


def find_ties(ranking: Ranking, scores: Mapping[str, np.ndarray], confidence: float) -> None:
    """Set `tied_with` of the ranked lanes; see TIED_RULE.

    Any two lanes of a run are alike, so that a lane is tied with all of the run: ties are mutual, and leave
    out no lane with draws between two that are tied.
    """
    drawn = [lane for lane in ranking.lanes if lane.rank is not None and lane.record.lane in scores]
    names = [lane.record.lane for lane in drawn]
    alike = [[_are_alike(scores[a], scores[b], confidence) for b in names] for a in names]
    for first in range(len(names)):
        for last in range(first + 1, len(names)):
            if not all(alike[between][last] for between in range(first, last)):
                break
            drawn[first].tied_with.append(names[last])
            drawn[last].tied_with.append(names[first])


def _are_alike(one: np.ndarray, other: np.ndarray, confidence: float) -> bool:
    interval = find_interval(one - other, confidence)
    return interval is None or interval.low <= 0 <= interval.high


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED_LANES])
    return f"{shown} and {len(names) - NAMED_LANES} more" if len(names) > NAMED_LANES else shown
