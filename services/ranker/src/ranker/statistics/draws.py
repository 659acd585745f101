"""Intervals of a mean over few replicates, which hold the choice of items and of the draw. Pure.

Replicates and items are crossed: every replicate answers all items. A value is μ + item + draw + rest, and
the mean over I items and J replicates varies by σ²(item)/I + σ²(draw)/J + σ²(rest)/(IJ) (Brennan 2001,
Generalizability Theory, ch. 2, the p × i design). The parts are estimated apart:

- The items resampled, the same for all replicates, give the mean over the replicates a spread of
  σ²(item)/I + σ²(rest)/(IJ).
- The replicates' values over all items differ by σ²(draw) + σ²(rest)/I; this over J is the draws' part. The
  rest is counted in both: some σ²(rest)/(IJ) too much, little beside the others.

J is 2 to 5, so the draws' part is no normal: Student's t with J − 1 degrees of freedom (Student 1908),
added to the resample. The sum of a normal and a t whose scale is estimated is the fiducial (Behrens–Fisher)
distribution of a mean with two variance components; its intervals are known to hold the truth at least as
often as they say (Fisher 1935; Robinson 1976). Two replicates have one degree of freedom: their interval is
very wide, and rightly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lanekit.results.ranking import RankedLane
from ranker.scoring.replicates import list_scored
from ranker.statistics.resampling import divide, make_rng


class MeanPair(NamedTuple):
    """Resampled means (resamples,) of a lane and of the baseline, over the same items."""

    lane: np.ndarray
    base: np.ndarray


class PerfDraws(NamedTuple):
    """Draws (resamples,) of a lane's Perf, of Perf/Perf_base, and of Perf − Perf_base."""

    perf: np.ndarray
    norm: np.ndarray
    difference: np.ndarray


def draw_perfs(
    lane: RankedLane,
    common: Mapping[str, Mapping[str, MeanPair]],
    weights: Mapping[str, float],
    base_perf: float,
    seed: int,
) -> PerfDraws | None:
    """Return the draws of a scored lane, over its replicates where it has some.

    Args:
        common: by benchmark and lane, the resampled means over the items of both it and the baseline.
        base_perf: the baseline's Perf.

    Returns:
        None where a benchmark of `weights` has no means of the lane, or of one of its replicates.
    """
    members = []
    for name in list_scored(lane):
        pairs = {benchmark: common.get(benchmark, {}).get(name) for benchmark in weights}
        known = [(weights[benchmark], pair) for benchmark, pair in pairs.items() if pair is not None]
        if len(known) < len(weights):
            return None
        perf = np.sum([weight * pair.lane for weight, pair in known], axis=0)
        base = np.sum([weight * pair.base for weight, pair in known], axis=0)
        total = math.fsum(weights.values())
        members.append(PerfDraws(perf / total, divide(perf, base), (perf - base) / total))
    perfs = [perf for perf in (lane.replicates.perfs if lane.replicates else [lane.perf]) if perf is not None]

    def draw(draws: Sequence[np.ndarray], values: Sequence[float]) -> np.ndarray:
        return draw_means(draws, values, make_rng(seed, f"draws of {lane.record.lane}"))  # for both the same

    norms = [perf / base_perf for perf in perfs]
    return PerfDraws(
        draw([m.perf for m in members], perfs),
        draw([m.norm for m in members], norms),
        draw([m.difference for m in members], perfs),  # the baseline is one number: it adds no spread
    )


def draw_means(
    members: Sequence[np.ndarray], values: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Return draws (resamples,) of the mean over replicates, around their mean over the resampled items.

    Args:
        members: each replicate's resampled values (resamples,), of the same resamples of items.
        values: each replicate's value over all items.

    Raises:
        ValueError: there are other values than replicates, or none.
    """
    n_replicates = len(members)
    if not n_replicates or n_replicates != len(values):
        raise ValueError(f"{n_replicates} replicates and {len(values)} values")
    means = np.mean(np.stack(members), axis=0)
    if n_replicates == 1:
        return means
    error = float(np.std(values, ddof=1)) / math.sqrt(n_replicates)
    return means + error * rng.standard_t(n_replicates - 1, size=len(means))
