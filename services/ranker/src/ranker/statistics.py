"""What a ranking's numbers are worth: intervals, paired tests, ties and the Pareto front.

All resamples are drawn per benchmark, the same items for every lane and the baseline, so that differences and
ratios are paired. A score's resample has resampled items and, of the lane's own sitting, resampled repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lanekit.results import BenchmarkStatistics, RankedLane, Ranking
from ranker.front import mark_front
from ranker.items import ItemValues, LaneItems
from ranker.resampling import divide, find_interval, make_rng, resample_gains, resample_means
from ranker.significance import adjust_holm, compare_pairs

TOLERANCE = 1e-6  # between a record's value and the mean of its items
NAMED_LANES = 4
SITTING_NOTE = (
    "A score's interval holds the choice of the items and the repeats of one sitting; not what would change "
    "from sitting to sitting, nor the choice of calibration or training data."
)
TIED_RULE = (
    "Two lanes are not told apart (≈) where the {percent} % interval of the difference of their scores, on "
    "the same resamples, holds 0, and so for each of the two and every lane ranked between them. The pairs "
    "are not adjusted for their number."
)


@dataclass(frozen=True)
class Resampling:
    """How intervals are made."""

    resamples: int = 10_000
    confidence: float = 0.95
    seed: int = 42


@dataclass(frozen=True)
class Paired:
    """One benchmark: values (n_items, n_lanes), the baseline's first, and their resampled means."""

    names: tuple[str, ...]
    values: np.ndarray
    means: np.ndarray

    def find(self, lane: str) -> np.ndarray | None:
        """Return a lane's resampled means (resamples,); None where it has no items here."""
        return self.means[:, self.names.index(lane)] if lane in self.names else None


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
        unpaired = [lane for lane, found in usable.items() if name in found and lane not in benchmark.names]
        if unpaired:
            notes.append(
                f"Asked other items of {name} than the baseline, and not compared: {_shorten(unpaired)}."
            )
    scores = {}
    for lane in ranking.lanes:
        drawn = draw_scores(lane, base, paired, ranking.weights_used, quality_weight, method)
        if drawn is not None:
            perf_norm, scores[lane.record.lane] = drawn
            if lane is not base:
                lane.perf_norm_interval = find_interval(perf_norm, method.confidence)
                lane.score_interval = find_interval(scores[lane.record.lane], method.confidence)
    find_ties(ranking, scores, method.confidence)
    if scores:
        notes += [SITTING_NOTE, TIED_RULE.format(percent=f"{100 * method.confidence:g}")]
    ranking.notes[:0] = notes


def select_items(ranking: Ranking, items: Mapping[str, LaneItems]) -> tuple[dict[str, LaneItems], list[str]]:
    """Return the items that fit their records, and notes on the lanes and benchmarks that have none."""
    usable: dict[str, LaneItems] = {}
    without, unlike = [], []
    for lane in ranking.lanes:
        name = lane.record.lane
        valued = {n for n, result in lane.record.benchmarks.items() if result.value is not None}
        if not valued:
            continue
        if not items.get(name):
            without.append(name)
            continue
        for benchmark in sorted(valued):
            found, result = items[name].get(benchmark), lane.record.benchmarks[benchmark]
            if found is None or not _fits(found, result.value):
                unlike.append(f"{name} ({benchmark})")
            else:
                usable.setdefault(name, {})[benchmark] = found
    notes = []
    if without:
        notes.append(f"No per-item outputs, so no interval, test or tie: {_shorten(without)}.")
    if unlike:
        notes.append(
            f"The per-item outputs do not give the value on record, and are not used: {_shorten(unlike)}."
        )
    return usable, notes


def pair_items(name: str, base: str, usable: Mapping[str, LaneItems], method: Resampling) -> Paired:
    """Pair one benchmark's items and resample them; a lane that was asked other items is left out."""
    keys = usable[base][name].keys
    columns = {base: usable[base][name].values}
    for lane, found in usable.items():
        if lane != base and name in found and set(found[name].keys) == set(keys):
            columns[lane] = found[name].align(keys)
    values = np.column_stack(list(columns.values()))
    rng = make_rng(method.seed, f"items of {name}")
    return Paired(tuple(columns), values, resample_means(values, method.resamples, rng))


def fill_benchmark(ranking: Ranking, name: str, paired: Paired, method: Resampling) -> None:
    """Give each lane its statistics of one benchmark; Holm's adjustment is over the lanes compared."""
    p_values: dict[str, float] = {}
    base_values, base_means = paired.values[:, 0], paired.means[:, 0]
    base_value = float(np.nanmean(base_values))
    for lane in ranking.lanes:
        means = paired.find(lane.record.lane)
        if means is None:
            continue
        found = BenchmarkStatistics(interval=find_interval(means, method.confidence))
        lane.benchmark_statistics[name] = found
        if lane is ranking.lanes[0]:
            continue
        values = paired.values[:, paired.names.index(lane.record.lane)]
        found.difference = round(float(np.nanmean(values)) - base_value, 12)
        found.n_better, found.n_worse = int((values > base_values).sum()), int((values < base_values).sum())
        if base_value > 0:
            found.recovery = float(np.nanmean(values)) / base_value
            found.recovery_interval = find_interval(divide(means, base_means), method.confidence)
        rng = make_rng(method.seed, f"signs of {name}, {lane.record.lane}")
        both = np.isfinite(values) & np.isfinite(base_values)
        found.test, found.p_value = compare_pairs(values[both], base_values[both], method.resamples, rng)
        p_values[lane.record.lane] = found.p_value
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
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a lane's resampled Perf/Perf_base and scores (resamples,); None without a score or its items."""
    speed = lane.record.speed
    if lane.score is None or speed is None or not weights:
        return None
    perf, base_perf = np.zeros(method.resamples), np.zeros(method.resamples)
    for name, weight in weights.items():
        means = paired[name].find(lane.record.lane) if name in paired else None
        if means is None:
            return None
        perf += weight * means
        base_perf += weight * paired[name].means[:, 0]
    perf_norm = divide(perf, base_perf)
    gains: np.ndarray | float = lane.speed_norm or 0.0
    repeats, base_repeats = speed.s_per_token_all, speed.baseline_s_per_token_all
    if len(repeats) > 1 and len(repeats) == len(base_repeats):
        rng = make_rng(method.seed, f"repeats of {lane.record.lane}")
        gains = resample_gains(repeats, base_repeats, method.resamples, rng)
    if lane is base:
        gains = 0.0
    return perf_norm, np.maximum(quality_weight * perf_norm + (1 - quality_weight) * gains, 0.0)


def find_ties(ranking: Ranking, scores: Mapping[str, np.ndarray], confidence: float) -> None:
    """Set `tied_with` of the ranked lanes; see TIED_RULE."""
    ranked = [lane for lane in ranking.lanes if lane.rank is not None]
    names = [lane.record.lane for lane in ranked]
    alike = [[_are_alike(scores.get(a), scores.get(b), confidence) for b in names] for a in names]
    for first in range(len(names)):
        for last in range(first + 1, len(names)):
            if not alike[first][last]:
                break
            if all(alike[between][last] for between in range(first + 1, last)):
                ranked[first].tied_with.append(names[last])
                ranked[last].tied_with.append(names[first])


def _are_alike(one: np.ndarray | None, other: np.ndarray | None, confidence: float) -> bool:
    if one is None or other is None:
        return False
    interval = find_interval(one - other, confidence)
    return interval is None or interval.low <= 0 <= interval.high


def _fits(found: ItemValues, value: float | None) -> bool:
    known = found.values[np.isfinite(found.values)]
    return value is not None and len(known) > 0 and abs(float(known.mean()) - value) <= TOLERANCE


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED_LANES])
    return f"{shown} and {len(names) - NAMED_LANES} more" if len(names) > NAMED_LANES else shown
