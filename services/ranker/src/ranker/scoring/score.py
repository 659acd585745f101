"""The contest's score. Pure.

Score = max(q·Perf/Perf_base + (1 − q)·(1 − spt/spt_base), 0), q = 0.5 in the contest. spt/spt_base is the
median of the repeats' ratios, each of candidate and baseline timed one right after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from lanekit.errors import InputError
from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import FAILED, LaneRecord
from ranker.scoring.bounds import warn_of_host
from ranker.scoring.finite import drop_non_finite
from ranker.scoring.lengths import warn_of_lengths, warn_of_order
from ranker.scoring.pooling import POOL_RULE, Pool, pool_equal_shapes
from ranker.scoring.replicates import (
    FIRST_RULE,
    average_replicates,
    group_replicates,
    leave_out_orphan,
    warn_of_replicates,
)
from ranker.scoring.sittings import REMEDY, describe_drift, find_unlike_conditions

TIE_RULE = (
    "Equal scores are ordered by higher Perf, then smaller size, then higher speed gain, "
    "then the lane's name."
)


def compute_perf(values: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Return the weighted mean of the benchmarks that `weights` names; None if one is missing."""
    total = math.fsum(weights.values())
    if total <= 0:
        return None
    perf = 0.0
    for name, weight in weights.items():
        value = values.get(name)
        if value is None:
            return None
        perf += weight * value
    return perf / total


def compute_score(perf_norm: float, speed_norm: float, quality_weight: float = 0.5) -> float:
    """Return the contest's score; never below 0."""
    return max(quality_weight * perf_norm + (1 - quality_weight) * speed_norm, 0.0)


def rank_lanes(
    records: list[LaneRecord],
    weights: Mapping[str, float],
    *,
    quality_weight: float = 0.5,
    baseline: str = "baseline",
    experiment: str = "",
    objections: Mapping[str, str] | None = None,
) -> Ranking:
    """Score every lane against the baseline and order them.

    A benchmark that the baseline itself lacks is left out for all and its weight is shared by the
    others; a lane that lacks one of the rest is `incomplete` and gets no rank. With a baseline that
    failed, has no speed, or whose Perf is 0, no lane can be scored: each is `unscored`, with the
    reason. A lane whose speed was measured under other conditions than the baseline record's (another
    GPU, driver, engine or form) is `incomplete` as well, and so is one that `objections` names with a
    reason. NaN and infinity count as not measured. Replicates are scored each, and their lane by their mean
    (see replicates).

    Raises:
        InputError: no baseline record, or two records of one lane.
    """
    names = [r.lane for r in records]
    repeated = sorted({n for n in names if names.count(n) > 1})
    if repeated:
        raise InputError(
            f"more than one record of the lane {', '.join(repeated)}",
            remedy="leave one of each in the results folder",
        )
    family = group_replicates(drop_non_finite(record) for record in records)
    records = family.firsts
    base = next((r for r in records if r.lane == baseline), None)
    if base is None:
        raise InputError(
            "there is no baseline record to score against",
            remedy="evaluate the base model first (scripts/04_eval_vllm.py --model … --baseline)",
        )
    used = {n: w for n, w in weights.items() if w > 0 and _value(base, n) is not None}
    notes = [_explain_omission(base, n, w) for n, w in weights.items() if w > 0 and n not in used]
    base_perf = compute_perf(_values(base), used)
    obstacle = _find_obstacle(base, base_perf)
    if obstacle:
        notes.append(obstacle)
    pools = pool_equal_shapes(records, baseline)

    def score(record: LaneRecord, lane: str) -> RankedLane:
        objection = (objections or {}).get(record.lane)
        return _score_lane(
            record, base, base_perf, obstacle, used, quality_weight, objection, pools.get(lane)
        )

    ranked = [score(r, r.lane) for r in records if r is not base]
    others = {lane: [score(r, lane) for r in found] for lane, found in family.others.items()}
    for lane in ranked:
        if lane.record.lane in others:
            average_replicates(lane, others[lane.record.lane])
    scored = sorted((x for x in ranked if x.score is not None), key=_order)
    for position, lane in enumerate(scored, start=1):
        lane.rank = position
    unscored = [x for x in ranked if x.score is None] + list(map(leave_out_orphan, family.orphans))
    rest = sorted(unscored, key=lambda x: x.record.lane)
    head = _score_lane(base, base, base_perf, obstacle, used, quality_weight)
    repeated_records = [r for found in family.others.values() for r in found]
    notes += warn_of_contamination([*records, *repeated_records])
    notes += note_unknown_contamination([r for r in [*records, *repeated_records] if r is not base])
    notes += warn_of_speed(records)
    notes += warn_of_host(records)
    notes += _note_drift(records, base)
    lanes = [head, *scored, *rest]
    notes += warn_of_lengths(lanes) + warn_of_order(lanes) + warn_of_replicates(lanes, others)
    rules = [TIE_RULE, *([POOL_RULE] if pools else []), *([FIRST_RULE] if others else [])]
    return Ranking(
        experiment=experiment,
        lanes=lanes,
        weights_used=used,
        notes=notes,
        rules=rules,
        replicates=[lane for found in others.values() for lane in found],
    )


def _value(record: LaneRecord, benchmark: str) -> float | None:
    result = record.benchmarks.get(benchmark)
    return result.value if result else None


def _values(record: LaneRecord) -> dict[str, float | None]:
    return {name: result.value for name, result in record.benchmarks.items()}


def _order(lane: RankedLane) -> tuple[float, float, float, float, str]:
    record = lane.record
    size = math.inf if record.size_bytes is None else float(record.size_bytes)
    return (-(lane.score or 0.0), -(lane.perf or 0.0), size, -(lane.speed_norm or 0.0), record.lane)


def _explain_omission(base: LaneRecord, name: str, weight: float) -> str:
    result = base.benchmarks.get(name)
    why = result.note if result and result.note else "the baseline has no value for it"
    return f"{name} (weight {weight:g}) is left out: {why}; its weight is shared by the others."


def _find_obstacle(base: LaneRecord, base_perf: float | None) -> str:
    if base.status != "ok":
        return f"no lane can be scored: the baseline failed ({base.reason})"
    if base.speed is None:
        return "no lane can be scored: the baseline has no seconds per token, or none that is a finite number"
    if base_perf is None:
        return "no lane can be scored: the baseline has no benchmark value"
    if base_perf <= 0:
        return "no lane can be scored: Perf of the baseline is 0, and Perf/Perf_base has no value"
    return ""


def get_form(record: LaneRecord, benchmark: str) -> tuple[int, str, int, str] | None:
    """Return what must be equal for two values of a benchmark to be comparable.

    Returns:
        Version, metric, number of items and judge; None where the record has no such benchmark.
    """
    result = record.benchmarks.get(benchmark)
    return (result.version, result.metric, result.n_items, result.judge) if result else None


def _score_lane(
    record: LaneRecord,
    base: LaneRecord,
    base_perf: float | None,
    obstacle: str,
    used: Mapping[str, float],
    quality_weight: float,
    objection: str | None = None,
    pool: Pool | None = None,
) -> RankedLane:
    lane = RankedLane(rank=None, record=record)
    if record.status in FAILED:
        return lane
    lane.perf = compute_perf(_values(record), used)
    if record.speed is not None and (ratio := record.speed.ratio) is not None:
        if pool and record.speed.form in pool.forms:
            ratio = pool.forms[record.speed.form].ratio
        lane.speed_norm = 1 - ratio
        lane.pooled_with = [name for name in pool.lanes if name != record.lane] if pool else []
        lane.pooled_ratios = {name: pairs.ratio for name, pairs in pool.forms.items()} if pool else {}
    if obstacle or base_perf is None:
        record.status, record.reason = "unscored", record.reason or obstacle
        return lane
    other = [n for n in used if get_form(record, n) != get_form(base, n)]
    missing = [n for n in used if _value(record, n) is None]
    if (other and not missing) or objection:
        record.status = "incomplete"
        reason = f": {objection}" if objection else f" (version, metric, items or judge): {', '.join(other)}"
        record.reason = f"asked otherwise than the baseline{reason}"
        return lane
    if lane.speed_norm is None:
        missing.append("seconds per token")
    if lane.perf is None or lane.speed_norm is None:
        record.status, record.reason = "incomplete", f"not measured: {', '.join(missing)}"
        return lane
    assert record.speed  # it has a ratio
    assert base.speed  # else there is an obstacle
    mismatch = find_unlike_conditions(record.speed, base.speed)
    if mismatch:
        record.status = "incomplete"
        record.reason = f"its speed cannot be compared with the others' ({mismatch}); remedy: {REMEDY}"
        return lane
    lane.perf_norm = lane.perf / base_perf
    lane.score = compute_score(lane.perf_norm, lane.speed_norm, quality_weight)
    return lane


def warn_of_contamination(records: Iterable[LaneRecord]) -> list[str]:
    """Return a warning for each lane whose training or calibration text holds benchmark items."""
    return [
        f"{record.lane} is contaminated: its training or calibration text holds "
        + ", ".join(f"{count} item{'s' if count > 1 else ''} of {n}" for n, count in found.items())
        + ". It is ranked, but its quality there proves nothing."
        for record in records
        if (found := {n: count for n, count in (record.contamination or {}).items() if count})
    ]


def note_unknown_contamination(records: Sequence[LaneRecord]) -> list[str]:
    """Return one note on the lanes that did not fail and of whose training text nothing is known."""
    unknown = [r.lane for r in records if r.contamination is None and r.status not in FAILED]
    if not unknown:
        return []
    return [
        f"Not known whether benchmark items stand in the training or calibration text: {', '.join(unknown)}."
    ]


def warn_of_speed(records: Iterable[LaneRecord]) -> list[str]:
    """Return a warning for each lane whose speed measurement is doubtful by its own account."""
    return [
        f"The speed of {record.lane} is doubtful: {'; '.join(record.speed.warnings)}."
        for record in records
        if record.speed and record.speed.warnings
    ]


def _note_drift(records: list[LaneRecord], base: LaneRecord) -> list[str]:
    """Return a warning where the baseline itself took another time from sitting to sitting."""
    if base.speed is None:
        return []
    comparable = [r for r in records if r.speed and not find_unlike_conditions(r.speed, base.speed)]
    drift = describe_drift(comparable)
    return [drift] if drift else []
