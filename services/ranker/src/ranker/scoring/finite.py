"""Records without NaN and infinity: no ordering, JSON or chart can hold them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from lanekit.results.schema import BenchmarkResult, LaneRecord
from lanekit.results.screen import ScreenResult
from lanekit.results.speed import ModelCost, SpeedResult

NOT_A_NUMBER = "its value is not a finite number"


def drop_non_finite(record: LaneRecord) -> LaneRecord:
    """Return a copy in which what is NaN or infinite counts as not measured.

    A benchmark loses its value, with a note; a speed whose own seconds per token are not finite and positive
    goes as a whole, a form of it alone.
    """
    record = record.model_copy(deep=True)
    for result in record.benchmarks.values():
        _clean_benchmark(result)
    record.speed = _clean_speed(record.speed) if record.speed else None
    if record.screen and not _is_finite(record.screen):
        record.screen, record.screen_reason = None, "its numbers are not finite"
    record.stage_seconds = {n: s for n, s in record.stage_seconds.items() if math.isfinite(s)}
    return record


def _is_finite(screen: ScreenResult) -> bool:
    values = [value for value in screen.model_dump().values() if isinstance(value, float)]
    return all(map(math.isfinite, [*values, *screen.sequence_kl]))


def _clean_benchmark(result: BenchmarkResult) -> None:
    if result.value is not None and not math.isfinite(result.value):
        result.value, result.note = None, result.note or NOT_A_NUMBER
    if result.exact_match is not None and not math.isfinite(result.exact_match):
        result.exact_match = None
    result.parts = {n: part for n, part in result.parts.items() if math.isfinite(part.value)}
    for part in result.parts.values():
        if part.exact_match is not None and not math.isfinite(part.exact_match):
            part.exact_match = None


def _clean_speed(speed: SpeedResult) -> SpeedResult | None:
    if not are_times(_list_times(speed)):
        return None
    speed.forms = {
        name: form
        for name, form in speed.forms.items()
        if are_times([*_list_times(form), form.seconds, form.baseline_seconds, form.ratio])
    }
    if speed.bandwidth_bytes_per_s is not None and not math.isfinite(speed.bandwidth_bytes_per_s):
        speed.bandwidth_bytes_per_s = None
    for cost in (speed.cost, speed.baseline_cost):
        if isinstance(cost, ModelCost):
            _clean_cost(cost)
    return speed


def _clean_cost(cost: ModelCost) -> None:
    for name in ("roofline_ratio", "peak_operations_per_s", "prefill_tokens_per_s"):
        value = getattr(cost, name)
        setattr(cost, name, value if value is not None and math.isfinite(value) else None)
    cost.bounds = {
        name: bound
        for name, bound in cost.bounds.items()
        if all(math.isfinite(x) for x in bound.model_dump(exclude={"verdict"}, exclude_none=True).values())
    }


def are_times(seconds: Iterable[float]) -> bool:
    """Whether all are finite and above 0."""
    return all(math.isfinite(x) and x > 0 for x in seconds)


def _list_times(timing: Any) -> list[float]:
    return [
        timing.s_per_token, timing.baseline_s_per_token, *timing.s_per_token_all,
        *timing.baseline_s_per_token_all,
    ]  # fmt: skip
