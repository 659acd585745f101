"""Numbers that cannot be: the record gets no rank, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lanekit.results.schema import BenchmarkResult, LaneRecord, PartResult, SpeedForm
from ranker.scoring.plausible import refuse_implausible
from ranker.scoring.score import rank_lanes

WEIGHTS = {"kmmlu_pro": 0.5, "kmmlu_redux": 0.5}
MakeRecord = Callable[..., LaneRecord]


def make_result(**fields: Any) -> BenchmarkResult:
    return BenchmarkResult(**{"metric": "accuracy", "version": 1, "value": 0.5, "n_items": 10, **fields})


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"value": 7.0}, "value is 7, outside 0 to 1"),
        ({"value": 71.5}, "value is 71.5, outside 0 to 1"),
        ({"value": -0.01}, "value is -0.01, outside 0 to 1"),
        ({"exact_match": 1.01}, "exact_match is 1.01"),
        ({"n_items": 0}, "it has 0 items"),
        ({"n_items": -1}, "it has -1 items"),
        ({"n_unparsed": 11}, "n_unparsed is 11, of 10 items"),
        ({"n_cut": -1}, "n_cut is -1"),
        ({"n_gold_lost": 11}, "n_gold_lost is 11"),
        ({"parts": {"law": PartResult(n_items=11, value=0.5)}}, "law has 11 of 10 items"),
        ({"parts": {"law": PartResult(n_items=1, value=50.0)}}, "the value of law is 50"),
    ],
)
def test_a_benchmark_outside_its_range_is_refused(
    make_record: MakeRecord, result: dict[str, Any], reason: str
) -> None:
    record = make_record("lane01", benchmarks={"kmmlu_pro": make_result(**result)})
    refused = refuse_implausible(record)
    assert refused.status == "refused" and "kmmlu_pro: " in refused.reason and reason in refused.reason
    assert "remedy: evaluate the lane again" in refused.reason


@pytest.mark.parametrize("value", [0.0, 1.0, None])
def test_the_ends_of_the_range_are_in_it(make_record: MakeRecord, value: float | None) -> None:
    record = make_record("lane01", benchmarks={"kmmlu_pro": make_result(value=value)})
    assert refuse_implausible(record) is record


def make_form(**fields: Any) -> SpeedForm:
    numbers = {"s_per_token": 0.05, "s_per_token_all": [0.05], "baseline_s_per_token": 0.1,
               "baseline_s_per_token_all": [0.1], "n_sequences": 1, "tokens": 8, "baseline_tokens": 8,
               "seconds": 1.0, "baseline_seconds": 1.0, "ratio": 0.5}  # fmt: skip
    return SpeedForm.model_validate({"kind": "decode", **numbers, **fields})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"s_per_token": 0.0166}, "decode: s_per_token is 0.0166, the median of its repeats 0.05"),
        ({"baseline_s_per_token": 0.2}, "decode: baseline_s_per_token is 0.2, the median of its repeats 0.1"),
        ({"s_per_token_all": []}, "decode: s_per_token has no repeats"),
        ({"forms": {"free": make_form(s_per_token=0.01)}}, "free: s_per_token is 0.01"),
        ({"forms": {"decode": make_form(ratio=0.3)}},
         "decode: the ratio is 0.3, the median of its pairs' 0.5"),
        ({"forms": {"decode": make_form(s_per_token_all=[0.05, 0.05])}},
         "decode: its repeats and the baseline's are no pairs"),
        ({"forms": {"decode": make_form(s_per_token=0.04, s_per_token_all=[0.04], ratio=0.4)}},
         "the seconds per token are not those of the form decode"),
    ],
)  # fmt: skip
def test_a_speed_that_is_not_of_its_repeats_is_refused(
    make_record: MakeRecord, changes: dict[str, Any], reason: str
) -> None:
    record = make_record("lane01")
    assert record.speed
    record.speed = record.speed.model_copy(update=changes)
    refused = refuse_implausible(record)
    assert refused.status == "refused" and f"speed: {reason}" in refused.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"size_bytes": 0}, "0 bytes"), ({"contamination": {"kmmlu_pro": -2}}, "-2 items of kmmlu_pro")],
)
def test_sizes_and_counts_are_not_negative(
    make_record: MakeRecord, changes: dict[str, Any], reason: str
) -> None:
    assert reason in refuse_implausible(make_record("lane01", **changes)).reason


def test_an_impossible_value_takes_no_rank_and_no_baseline(make_record: MakeRecord) -> None:
    lanes = [make_record("baseline", seconds=0.1), make_record("lane01", pro=7.0), make_record("lane02")]
    ranking = rank_lanes([refuse_implausible(record) for record in lanes], WEIGHTS)
    assert [(lane.record.lane, lane.rank) for lane in ranking.lanes] == [
        ("baseline", None), ("lane02", 1), ("lane01", None),
    ]  # fmt: skip
    lanes[0].benchmarks["kmmlu_pro"].value = 70.0
    ranking = rank_lanes([refuse_implausible(record) for record in lanes], WEIGHTS)
    assert all(lane.rank is None for lane in ranking.lanes)
    assert any("outside 0 to 1" in note for note in ranking.notes)
