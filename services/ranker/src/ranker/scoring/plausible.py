"""Whether a record's numbers can be: what is off its range, or not of its repeats, is not ranked. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from lanekit.results.schema import FAILED, BenchmarkResult, LaneRecord
from lanekit.results.speed import SpeedForm, SpeedResult
from ranker.scoring.pooling import Pairs

TOLERANCE = 1e-6  # relative, between a median on record and that of its repeats
REMEDY = "evaluate the lane again; a number put in by hand or by another tool is not ranked"


def refuse_implausible(record: LaneRecord) -> LaneRecord:
    """Return the record, refused with the reasons where its numbers cannot be."""
    return refuse(record, list(find_faults(record)))


def refuse(record: LaneRecord, faults: list[str]) -> LaneRecord:
    """Return the record, refused where there are faults; one that failed stays as it is."""
    if not faults or record.status in FAILED:
        return record
    reason = f"not believed: {'; '.join(faults)}; remedy: {REMEDY}"
    return record.model_copy(update={"status": "refused", "reason": reason})


def find_faults(record: LaneRecord) -> Iterator[str]:
    """Give what is wrong with a record's numbers; none is NaN or infinite (see finite)."""
    for name, result in record.benchmarks.items():
        yield from (f"{name}: {fault}" for fault in _check_benchmark(result))
    if record.speed is not None:
        yield from (f"speed: {fault}" for fault in _check_speed(record.speed))
    if record.size_bytes is not None and record.size_bytes <= 0:
        yield f"the weights take {record.size_bytes} bytes"
    for name, count in (record.contamination or {}).items():
        if count < 0:
            yield f"{count} items of {name} stand in its text"


def _check_benchmark(result: BenchmarkResult) -> Iterator[str]:
    shares = {"value": result.value, "exact_match": result.exact_match}
    for part, found in result.parts.items():
        shares |= {f"the value of {part}": found.value, f"the exact_match of {part}": found.exact_match}
        if not 0 <= found.n_items <= max(result.n_items, 0):
            yield f"{part} has {found.n_items} of {result.n_items} items"
    for what, share in shares.items():
        if share is not None and not 0 <= share <= 1:
            yield f"{what} is {share:g}, outside 0 to 1"
    if result.n_items < 0 or (result.value is not None and result.n_items == 0):
        yield f"it has {result.n_items} items"
    for what in ("n_unparsed", "n_cut", "n_gold_lost"):
        if not 0 <= getattr(result, what) <= max(result.n_items, 0):
            yield f"{what} is {getattr(result, what)}, of {result.n_items} items"


def _check_speed(speed: SpeedResult) -> Iterator[str]:
    yield from _check_series(speed, speed.form)
    for name, form in speed.forms.items():
        yield from _check_series(form, name)
        yield from _check_ratio(form, name)
    scored = speed.forms.get(speed.form)
    if scored is not None and (scored.s_per_token, scored.baseline_s_per_token) != (
        speed.s_per_token,
        speed.baseline_s_per_token,
    ):
        yield f"the seconds per token are not those of the form {speed.form}"


def _check_ratio(form: SpeedForm, name: str) -> Iterator[str]:
    """The score takes the ratio: it must be that of the repeats, pair by pair."""
    if len(form.s_per_token_all) != len(form.baseline_s_per_token_all) or not form.s_per_token_all:
        yield f"{name}: its repeats and the baseline's are no pairs"
        return
    ratio = Pairs(form.s_per_token_all, form.baseline_s_per_token_all).ratio
    if not math.isclose(form.ratio, ratio, rel_tol=TOLERANCE):
        yield f"{name}: the ratio is {form.ratio:g}, the median of its pairs' {ratio:g}"


def _check_series(timing: SpeedResult | SpeedForm, form: str) -> Iterator[str]:
    for whose in ("", "baseline_"):
        value, repeats = getattr(timing, f"{whose}s_per_token"), getattr(timing, f"{whose}s_per_token_all")
        name = f"{form}: {whose}s_per_token"
        if not repeats:
            yield f"{name} has no repeats"
        elif not math.isclose(value, statistics.median(repeats), rel_tol=TOLERANCE):
            yield f"{name} is {value:g}, the median of its repeats {statistics.median(repeats):g}"
