"""Which speeds may be compared, and how far the baseline moved."""

from __future__ import annotations

from typing import Any

import pytest

from lanekit.results.schema import LaneRecord, ModelCost, SpeedResult
from ranker.scoring.sittings import describe_drift, find_unlike_conditions, list_conditions, measure_drift


def make_speed(**fields: Any) -> SpeedResult:
    values: dict[str, Any] = {
        "s_per_token": 0.05, "s_per_token_all": [0.05], "baseline_s_per_token": 0.1,
        "baseline_s_per_token_all": [0.1], "batch_size": 8, "prompt_tokens": 512, "decode_tokens": 256,
        "engine": "vllm", "device": "NVIDIA L4", "device_kind": "cuda", "form": "decode_b8", "sitting": "s1",
        "gpu": {"driver": "550.1", "power_limit_w": "72.00", "sm_clock_mhz_after": "1900"},
        "engine_arguments": {"max_model_len": 8192, "enforce_eager": False},
        "versions": {"vllm": "0.14.1", "torch": "2.9.1", "trl": "0.1"},
        "baseline_cost": ModelCost(weight_bytes_per_step=8, kernels={"linear: BF16": 6}, roofline_ratio=0.5),
    }  # fmt: skip
    return SpeedResult(**values | fields)


BASE = make_speed()


def test_equal_conditions_compare_across_sittings() -> None:
    clocks = {**BASE.gpu, "sm_clock_mhz_after": "1500"}  # clocks move by themselves: no condition
    versions = {**BASE.versions, "trl": "0.2"}  # runs in no measurement
    assert find_unlike_conditions(make_speed(sitting="s2", gpu=clocks, versions=versions), BASE) == ""


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"device": "NVIDIA A10"}, "device: NVIDIA A10, the baseline's NVIDIA L4"),
        ({"engine": "transformers"}, "engine: transformers, the baseline's vllm"),
        ({"form": "prefill"}, "form: prefill, the baseline's decode_b8"),
        (
            {"batch_size": 1, "device": "x"},
            "device: x, the baseline's NVIDIA L4; sequences: 1, the baseline's 8",
        ),
        ({"prompt_tokens": 64}, "prompt tokens: 64, the baseline's 512"),
        ({"decode_tokens": 64}, "decode tokens: 64, the baseline's 256"),
        ({"gpu": {**BASE.gpu, "driver": "560.2"}}, "GPU driver: 560.2, the baseline's 550.1"),
        ({"gpu": {**BASE.gpu, "power_limit_w": "40.00"}}, "power limit (W): 40.00, the baseline's 72.00"),
        ({"versions": {"vllm": "0.13.0", "torch": "2.9.1"}}, "vllm: 0.13.0, the baseline's 0.14.1"),
        (
            {"engine_arguments": {"max_model_len": 8192, "enforce_eager": True}},
            "enforce_eager: True, the baseline's False",
        ),
        (
            {"baseline_cost": ModelCost(weight_bytes_per_step=9, kernels={"linear: BF16": 7})},
            "baseline model's bytes a step: 9, the baseline's 8; "
            "baseline model's kernels: linear: BF16: 7, the baseline's linear: BF16: 6",
        ),
        ({"engine_arguments": {"max_model_len": 8192}}, "enforce_eager: not known, the baseline's False"),
        (
            {"engine_arguments": {**BASE.engine_arguments, "kv_cache_dtype": "fp8"}},
            "kv_cache_dtype: fp8, the baseline's not known",
        ),
    ],
)  # fmt: skip
def test_every_condition_refuses_by_name(fields: dict[str, Any], reason: str) -> None:
    assert find_unlike_conditions(make_speed(sitting="s2", **fields), BASE) == reason


def test_one_sitting_is_never_two() -> None:
    assert find_unlike_conditions(make_speed(device="renamed"), BASE) == ""
    assert find_unlike_conditions(make_speed(device="renamed", sitting=""), make_speed(sitting="")) != ""


def test_nothing_measured_is_a_condition() -> None:
    conditions = list_conditions(BASE)
    assert "0.05" not in conditions.values() and "0.1" not in conditions.values()
    assert not any("clock" in name for name in conditions)


def record(lane: str, base_seconds: float, sitting: str) -> LaneRecord:
    return LaneRecord(lane=lane, speed=make_speed(baseline_s_per_token=base_seconds, sitting=sitting))


def test_drift_is_the_baselines_over_sittings() -> None:
    records = [
        record("a", 0.10, "s1"),
        record("b", 0.11, "s2"),
        record("c", 0.12, "s3"),
        LaneRecord(lane="d"),
    ]
    drift = measure_drift(records)
    assert drift is not None
    assert (drift.n_sittings, drift.lowest_lane, drift.highest_lane) == (3, "a", "c")
    assert drift.spread == pytest.approx(0.02 / 0.11)
    text = describe_drift(records)
    assert "18.2%" in text and "beside a" in text and "beside c" in text
    assert describe_drift(records, limit=0.2) == ""


def test_one_sitting_does_not_drift() -> None:
    assert measure_drift([record("a", 0.1, "s1"), record("b", 0.2, "s1")]) is None
    assert describe_drift([]) == ""
    assert describe_drift([record("a", 0.100, "s1"), record("b", 0.104, "s2")]) == ""
