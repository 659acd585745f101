"""Numbers that cannot be: the record gets no rank, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lanekit.results.schema import BenchmarkResult, LaneRecord, PartResult
from lanekit.results.speed import SpeedForm
from ranker.scoring.plausible import refuse_implausible
from ranker.scoring.score import rank_lanes

WEIGHTS = {"kmmlu_pro": 0.5, "kmmlu_redux": 0.5}
MakeRecord = Callable[..., LaneRecord]


def check_refused(record: LaneRecord, faults: str) -> None:
    refused = refuse_implausible(record)
    assert refused.status == "refused"
    assert refused.reason == (
        f"not believed: {faults}; remedy: evaluate the lane again; a number put in by hand or by another "
        "tool is not ranked"
    )


def make_result(**fields: Any) -> BenchmarkResult:
    return BenchmarkResult(**{"metric": "accuracy", "version": 1, "value": 0.5, "n_items": 10, **fields})


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"value": 7.0}, "value is 7, outside 0 to 1"),
        ({"value": 71.5}, "value is 71.5, outside 0 to 1"),
        ({"value": -0.01}, "value is -0.01, outside 0 to 1"),
        ({"value": 7.0, "parts": {"law": PartResult(n_items=1, value=0.5)}}, "value is 7, outside 0 to 1"),
        ({"exact_match": 1.01}, "exact_match is 1.01, outside 0 to 1"),
        ({"n_items": 0}, "it has 0 items"),
        ({"n_items": -1}, "it has -1 items"),
        ({"n_items": -1, "value": None}, "it has -1 items"),
        ({"n_unparsed": 11}, "n_unparsed is 11, of 10 items"),
        ({"n_unparsed": 1, "n_items": 0, "value": None}, "n_unparsed is 1, of 0 items"),
        ({"n_cut": -1}, "n_cut is -1, of 10 items"),
        ({"n_gold_lost": 11}, "n_gold_lost is 11, of 10 items"),
        ({"parts": {"law": PartResult(n_items=11, value=0.5)}}, "law has 11 of 10 items"),
        ({"parts": {"law": PartResult(n_items=-1, value=0.5)}}, "law has -1 of 10 items"),
        ({"parts": {"law": PartResult(n_items=1, value=0.5)}, "n_items": 0, "value": None},
         "law has 1 of 0 items"),
        ({"parts": {"law": PartResult(n_items=0, value=0.5)}, "n_items": -1}, "it has -1 items"),
        ({"parts": {"law": PartResult(n_items=1, value=50.0)}}, "the value of law is 50, outside 0 to 1"),
        ({"parts": {"law": PartResult(n_items=1, value=0.5, exact_match=-1.0)}},
         "the exact_match of law is -1, outside 0 to 1"),
    ],
)  # fmt: skip
def test_a_benchmark_outside_its_range_is_refused(
    make_record: MakeRecord, result: dict[str, Any], reason: str
) -> None:
    record = make_record("lane01", benchmarks={"kmmlu_pro": make_result(**result)})
    check_refused(record, f"kmmlu_pro: {reason}")


@pytest.mark.parametrize(
    "result",
    [
        {"value": 0.0, "exact_match": 0.0},
        {"value": 1.0, "exact_match": 1.0, "n_unparsed": 10, "n_cut": 10, "n_gold_lost": 10},
        {"value": None},
        {"value": None, "n_items": 0, "parts": {"law": PartResult(n_items=0, value=0.0)}},
        {"value": 1.0, "n_items": 1, "parts": {"law": PartResult(n_items=1, value=1.0, exact_match=0.0)}},
    ],
)
def test_the_ends_of_the_range_are_in_it(make_record: MakeRecord, result: dict[str, Any]) -> None:
    record = make_record("lane01", benchmarks={"kmmlu_pro": make_result(**result)})
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
        ({"baseline_s_per_token_all": []}, "decode: baseline_s_per_token has no repeats"),
        ({"forms": {"free": make_form(s_per_token=0.01)}},
         "free: s_per_token is 0.01, the median of its repeats 0.05"),
        ({"forms": {"decode": make_form(ratio=0.3)}},
         "decode: the ratio is 0.3, the median of its pairs' 0.5"),
        ({"forms": {"decode": make_form(s_per_token_all=[0.05, 0.05])}},
         "decode: its repeats and the baseline's are no pairs"),
        ({"forms": {"decode": make_form(s_per_token_all=[], baseline_s_per_token_all=[])}},
         "decode: s_per_token has no repeats; speed: decode: baseline_s_per_token has no repeats; "
         "speed: decode: its repeats and the baseline's are no pairs"),
        ({"forms": {"decode": make_form(s_per_token=0.04, s_per_token_all=[0.04], ratio=0.4)}},
         "the seconds per token are not those of the form decode"),
        ({"forms": {"decode": make_form(baseline_s_per_token=0.2, baseline_s_per_token_all=[0.2],
                                        ratio=0.25)}},
         "the seconds per token are not those of the form decode"),
        ({"s_per_token": 0.0500002}, "decode: s_per_token is 0.0500002, the median of its repeats 0.05"),
        ({"forms": {"free": make_form(ratio=0.500002)}},
         "free: the ratio is 0.500002, the median of its pairs' 0.5"),
    ],
)  # fmt: skip
def test_a_speed_that_is_not_of_its_repeats_is_refused(
    make_record: MakeRecord, changes: dict[str, Any], reason: str
) -> None:
    record = make_record("lane01")
    assert record.speed
    record.speed = record.speed.model_copy(update=changes)
    check_refused(record, f"speed: {reason}")


@pytest.mark.parametrize(
    "changes",
    [
        {"s_per_token": 0.05 * (1 + 5e-7)},
        {"forms": {"free": make_form(ratio=0.5 * (1 - 5e-7))}},
        {"forms": {"decode": make_form()}},
        # An even number of pairs, 1 and 4 by hand: the middle two give their geometric mean.
        {"forms": {"free": make_form(s_per_token=0.25, s_per_token_all=[0.1, 0.4],
                                     baseline_s_per_token_all=[0.1, 0.1], ratio=2.0)}},
    ],
)  # fmt: skip
def test_a_median_written_with_fewer_digits_is_believed(
    make_record: MakeRecord, changes: dict[str, Any]
) -> None:
    record = make_record("lane01")
    assert record.speed
    record.speed = record.speed.model_copy(update=changes)
    assert refuse_implausible(record) is record


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size_bytes": 0}, "the weights take 0 bytes"),
        ({"size_bytes": -5}, "the weights take -5 bytes"),
        ({"contamination": {"kmmlu_pro": -1}}, "-1 items of kmmlu_pro stand in its text"),
        ({"size_bytes": 0, "contamination": {"a": 0, "b": -2}},
         "the weights take 0 bytes; -2 items of b stand in its text"),
    ],
)  # fmt: skip
def test_sizes_and_counts_are_not_negative(
    make_record: MakeRecord, changes: dict[str, Any], reason: str
) -> None:
    check_refused(make_record("lane01", **changes), reason)


@pytest.mark.parametrize(
    "changes",
    [
        {"size_bytes": 1},
        {"size_bytes": None},
        {"contamination": {"kmmlu_pro": 0}},
        {"contamination": None},
        {"speed": None},
    ],
)
def test_what_is_small_or_not_known_is_no_fault(make_record: MakeRecord, changes: dict[str, Any]) -> None:
    record = make_record("lane01", **changes)
    assert refuse_implausible(record) is record


def test_a_lane_that_failed_keeps_its_own_reason(make_record: MakeRecord) -> None:
    record = make_record("lane01", size_bytes=0, status="failed", reason="out of memory")
    assert refuse_implausible(record) is record


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
