"""A lane over several draws: its score is the mean of its replicates', its package the first's. Pure.

The spread is the sample standard deviation (n − 1) of the replicates' values. They are of the same items,
so it holds no choice of items; what it holds beside the draw, replies that would flip anyway, is part of
what another draw would do.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lanekit.results.ranking import DrawSpread, RankedLane, Replicates
from lanekit.results.schema import LaneRecord
from lanekit.spec.replicates import FIRST, split_replicate

FIRST_RULE = (
    "A lane with replicates was made over as many draws of its calibration set and training seed; its "
    "Perf and score are their means, and order it. Its package is the first replicate's, which was named "
    "before any was measured: the best of several draws looks better than it is, by luck, and would not "
    "be so on other items. Benchmarks, recovery, their tests and verdicts are the first's, Perf's verdict is "
    "of the mean; its speed is that of all, since their shapes are equal."
)
ORPHANED = (
    "it is replicate {number} of {lane}, of which there is no first; remedy: run the lane again "
    "(scripts/run_all.py --only {lane}), or take results/{name}/ away"
)


class Family(NamedTuple):
    """Records by what they are: lanes' firsts, by lane their other replicates, others without a first."""

    firsts: list[LaneRecord]
    others: dict[str, list[LaneRecord]]
    orphans: list[LaneRecord]


def group_replicates(records: Iterable[LaneRecord]) -> Family:
    """Return the records, replicates with their lane, in the order of their numbers."""
    records = list(records)
    family = Family([], {}, [])
    names = {record.lane for record in records}
    for record in sorted(records, key=lambda r: split_replicate(r.lane)[1]):
        lane, number = split_replicate(record.lane)
        if number == FIRST:
            family.firsts.append(record)
        elif lane in names:
            family.others.setdefault(lane, []).append(record)
        else:
            family.orphans.append(record)
    return family


def leave_out_orphan(record: LaneRecord) -> RankedLane:
    """Return a replicate whose lane is not there: it has no rank, and says why."""
    lane, number = split_replicate(record.lane)
    if record.status == "ok":
        reason = ORPHANED.format(number=number, lane=lane, name=record.lane)
        record = record.model_copy(update={"status": "incomplete", "reason": reason})
    return RankedLane(rank=None, record=record)


def average_replicates(lane: RankedLane, others: Sequence[RankedLane]) -> None:
    """Make a lane's Perf and score the means over its replicates that have a score.

    A lane whose first has none keeps none: there is nothing to package.
    """
    members = [lane, *others]
    scored = [member for member in members if member.score is not None]
    found = Replicates(
        lanes=[member.record.lane for member in members],
        perfs=[member.perf if member.score is not None else None for member in members],
        scores=[member.score for member in members],
    )
    lane.replicates = found
    if lane.score is None or len(scored) < 2:
        return
    found.perf = summarize(member.perf for member in scored)
    found.score = summarize(member.score for member in scored)
    for name in lane.record.benchmarks:
        results = [member.record.benchmarks.get(name) for member in scored]
        values = [result.value for result in results if result is not None and result.value is not None]
        if len(values) == len(scored):
            found.benchmarks[name] = summarize(values)
    norm = summarize(member.perf_norm for member in scored)
    lane.perf, lane.perf_norm, lane.score = found.perf.mean, norm.mean, found.score.mean


def summarize(values: Iterable[float | None]) -> DrawSpread:
    """Return mean and sample standard deviation of two values or more; all must be known."""
    known = [value for value in values if value is not None]
    return DrawSpread(mean=math.fsum(known) / len(known), deviation=statistics.stdev(known))


def list_scored(lane: RankedLane) -> list[str]:
    """Return the names of a lane's replicates that have a score; its own where it has none besides."""
    if lane.replicates is None:
        return [lane.record.lane]
    found = lane.replicates
    pairs = zip(found.lanes, found.scores, strict=True)  # pragma: no mutate: they are made together
    return [name for name, score in pairs if score is not None]


def warn_of_replicates(lanes: Iterable[RankedLane], others: Mapping[str, Sequence[RankedLane]]) -> list[str]:
    """Return a warning for each lane of which replicates that were asked for have no score."""
    warnings = []
    for lane in lanes:
        reasons = {
            member.record.lane: " ".join(member.record.reason.split()) or "no score"
            for member in others.get(lane.record.lane, ())
            if member.score is None
        }
        if not reasons or lane.score is None or lane.replicates is None:
            continue
        n_asked, n_scored = len(lane.replicates.lanes), len(list_scored(lane))
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        what = f"its mean is over {n_scored} of {n_asked} replicates" if n_scored > 1 else (
            "its numbers are the first replicate's alone, and their intervals hold no draw"
        )  # fmt: skip
        warnings.append(f"{lane.record.lane}: {what} ({told}).")
    return warnings
