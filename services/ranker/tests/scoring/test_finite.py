"""What is NaN, infinite or no time counts as not measured, and takes nothing else with it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lanekit.results.schema import BenchmarkResult, LaneRecord, PartResult
from lanekit.results.speed import FormBound, ModelCost, SpeedForm, SpeedResult
from ranker.scoring.finite import are_times, drop_non_finite

NOT_FINITE = [math.nan, math.inf, -math.inf]
TIMES: dict[str, Any] = {
    "s_per_token": 0.05, "s_per_token_all": [0.05, 0.06], "baseline_s_per_token": 0.1,
    "baseline_s_per_token_all": [0.1, 0.2],
}  # fmt: skip


def clean_benchmark(**fields: Any) -> BenchmarkResult:
    result = BenchmarkResult(**{"metric": "f1", "version": 1, "value": 0.5, **fields})
    return drop_non_finite(LaneRecord(lane="a", benchmarks={"x": result})).benchmarks["x"]


def make_form(**fields: Any) -> SpeedForm:
    numbers = {"ratio": 0.5, "n_sequences": 1, "tokens": 8, "baseline_tokens": 8, "seconds": 0.4,
               "baseline_seconds": 0.8}  # fmt: skip
    return SpeedForm.model_validate({"kind": "decode", **TIMES, **numbers, **fields})


def clean_speed(**fields: Any) -> SpeedResult | None:
    rest: dict[str, Any] = {"batch_size": 8, "prompt_tokens": 64, "decode_tokens": 32, "engine": "vllm",
                            "device": "NVIDIA L4", "device_kind": "cuda"}  # fmt: skip
    speed = SpeedResult.model_validate({**TIMES, **rest, **fields})
    return drop_non_finite(LaneRecord(lane="a", speed=speed)).speed


@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize(
    ("note", "expected"), [("", "its value is not a finite number"), ("half was cut", "half was cut")]
)
def test_a_benchmark_loses_its_value_with_a_note(bad: float, note: str, expected: str) -> None:
    result = clean_benchmark(value=bad, note=note, exact_match=0.25)
    assert (result.value, result.note, result.exact_match) == (None, expected, 0.25)


@pytest.mark.parametrize("bad", NOT_FINITE)
def test_exact_match_and_parts_go_alone(bad: float) -> None:
    parts = {
        "gone": PartResult(n_items=1, value=bad),
        "kept": PartResult(n_items=1, value=0.5, exact_match=0.25),
        "half": PartResult(n_items=1, value=0.5, exact_match=bad),
    }
    result = clean_benchmark(exact_match=bad, parts=parts)
    assert (result.value, result.note, result.exact_match) == (0.5, "", None)
    assert {name: part.exact_match for name, part in result.parts.items()} == {"kept": 0.25, "half": None}


def test_what_is_finite_or_not_known_stays() -> None:
    result = BenchmarkResult(metric="f1", version=1, value=None, note="no judge is configured")
    part = PartResult(n_items=1, value=0.5)
    record = LaneRecord(
        lane="a",
        benchmarks={"x": result, "y": result.model_copy(update={"value": 0.0, "parts": {"law": part}})},
        speed=clean_speed(forms={"decode": make_form()}, cost=ModelCost(weight_bytes_per_step=8)),
        stage_seconds={"gptq": 0.0},
    )
    assert drop_non_finite(record) == record
    assert drop_non_finite(LaneRecord(lane="b")) == LaneRecord(lane="b")


def test_the_record_itself_is_left_as_it_was() -> None:
    result = BenchmarkResult(metric="f1", version=1, value=math.inf)
    record = LaneRecord(lane="a", benchmarks={"x": result}, stage_seconds={"gptq": math.inf, "sft": 2.0})
    assert drop_non_finite(record).stage_seconds == {"sft": 2.0}
    assert record.benchmarks["x"].value == math.inf and list(record.stage_seconds) == ["gptq", "sft"]


@pytest.mark.parametrize("bad", [*NOT_FINITE, 0.0, -0.1])
@pytest.mark.parametrize("field", list(TIMES))
def test_a_speed_without_its_own_times_goes_as_a_whole_and_a_form_alone(field: str, bad: float) -> None:
    changed = {field: [0.1, bad] if field.endswith("_all") else bad}
    assert clean_speed(**changed) is None
    speed = clean_speed(forms={"broken": make_form(**changed), "whole": make_form()})
    assert speed and list(speed.forms) == ["whole"]


@pytest.mark.parametrize("bad", [*NOT_FINITE, 0.0])
@pytest.mark.parametrize("field", ["seconds", "baseline_seconds", "ratio"])
def test_a_forms_seconds_and_ratio_are_times(field: str, bad: float) -> None:
    speed = clean_speed(forms={"broken": make_form(**{field: bad}), "whole": make_form()})
    assert speed and list(speed.forms) == ["whole"]


@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize("whose", ["cost", "baseline_cost"])
def test_a_bandwidth_and_a_place_below_the_roof_go_alone(whose: str, bad: float) -> None:
    costs = {n: ModelCost(weight_bytes_per_step=8, roofline_ratio=0.5) for n in ("cost", "baseline_cost")}
    costs[whose].roofline_ratio = bad
    speed = clean_speed(bandwidth_bytes_per_s=bad, **costs)
    assert speed and speed.bandwidth_bytes_per_s is None
    found = {name: getattr(speed, name).roofline_ratio for name in costs}
    assert found == {"cost": 0.5, "baseline_cost": 0.5} | {whose: None}
    speed = clean_speed(bandwidth_bytes_per_s=3e11)
    assert speed and speed.bandwidth_bytes_per_s == 3e11


@pytest.mark.parametrize("bad", NOT_FINITE)
def test_what_bounds_a_form_goes_with_a_share_that_is_none(bad: float) -> None:
    whole = FormBound(seconds=1.0, read_bytes=1, operations=1, memory_share=0.5)
    bounds = {"whole": whole, "broken": whole.model_copy(update={"memory_share": bad})}
    cost = ModelCost(
        weight_bytes_per_step=8, bounds=bounds, prefill_tokens_per_s=bad, peak_operations_per_s=bad
    )
    speed = clean_speed(cost=cost)
    assert speed and speed.cost and list(speed.cost.bounds) == ["whole"]
    assert speed.cost.prefill_tokens_per_s is None and speed.cost.peak_operations_per_s is None


@pytest.mark.parametrize(
    ("seconds", "expected"), [([], True), ([1e-9, 2.0], True), ([1.0, 0.0], False), ([math.inf, 1.0], False)]
)
def test_times_are_finite_and_above_zero(seconds: list[float], expected: bool) -> None:
    assert are_times(seconds) is expected
