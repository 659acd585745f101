"""Golden tests of the score and of the order that it gives."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lanekit.errors import InputError
from lanekit.results.ranking import Ranking
from lanekit.results.schema import BenchmarkResult, LaneRecord
from lanekit.results.speed import ModelCost, SpeedForm, SpeedResult
from ranker.scoring.finite import drop_non_finite
from ranker.scoring.pooling import POOL_RULE
from ranker.scoring.score import TIE_RULE, compute_perf, compute_score, rank_lanes
from ranker.scoring.sittings import REMEDY

WEIGHTS = {"kmmlu_pro": 0.5, "kmmlu_redux": 0.5}


def make_record(
    lane: str,
    pro: float | None = 0.4,
    redux: float | None = 0.6,
    seconds: float | None = 0.05,
    base_seconds: float = 0.1,
    **fields: Any,
) -> LaneRecord:
    """Make a lane's record; None leaves a benchmark or the speed out."""
    values = {"kmmlu_pro": pro, "kmmlu_redux": redux}
    benchmarks = {
        name: BenchmarkResult(metric="accuracy", version=1, value=value)
        for name, value in values.items()
        if value is not None
    }
    speed = None
    if seconds is not None:
        speed = SpeedResult(
            s_per_token=seconds, s_per_token_all=[seconds] * 3, baseline_s_per_token=base_seconds,
            baseline_s_per_token_all=[base_seconds] * 3, batch_size=8, prompt_tokens=128,
            decode_tokens=128, engine="transformers", device="cpu: test", device_kind="cpu",
        )  # fmt: skip
    return LaneRecord(
        **{
            "lane": lane,
            "benchmarks": benchmarks,
            "speed": speed,
            "size_bytes": 100,
            "contamination": {},
            **fields,
        }
    )


BASE = make_record("baseline", seconds=0.1)


def rank(*records: LaneRecord, **options: Any) -> Ranking:
    return rank_lanes([BASE, *records], WEIGHTS, **options)


def order(ranking: Ranking) -> list[str]:
    return [lane.record.lane for lane in ranking.lanes]


def test_the_formula_by_hand() -> None:
    # Perf = (0.3 + 0.6)/2 = 0.45, over 0.5 is 0.9; speed gain = 1 − 0.04/0.1 = 0.6; score = (0.9 + 0.6)/2
    lane = rank(make_record("a", pro=0.3, seconds=0.04)).lanes[1]
    assert lane.perf == pytest.approx(0.45)
    assert lane.perf_norm == pytest.approx(0.9)
    assert lane.speed_norm == pytest.approx(0.6)
    assert lane.score == pytest.approx(0.75)
    assert lane.rank == 1


def test_the_baseline_scores_one_half_and_has_no_rank() -> None:
    head = rank(make_record("a")).lanes[0]
    assert (head.record.lane, head.rank) == ("baseline", None)
    assert head.score == pytest.approx(0.5)


def test_quality_weight_shifts_the_score() -> None:
    lane = rank(make_record("a", pro=0.3, seconds=0.04), quality_weight=0.8).lanes[1]
    assert lane.score == pytest.approx(0.8 * 0.9 + 0.2 * 0.6)


def test_unequal_weights_are_normalized() -> None:
    assert compute_perf({"a": 1.0, "b": 0.0}, {"a": 3, "b": 1}) == pytest.approx(0.75)
    assert compute_perf({"a": 1.0}, {"a": 1, "b": 1}) is None
    assert compute_perf({"a": None}, {"a": 1}) is None
    assert compute_perf({"a": 1.0}, {"a": 0}) is None


def test_a_negative_score_is_clipped_at_zero() -> None:
    assert compute_score(0.2, -0.9) == 0.0
    lane = rank(make_record("slow", pro=0.1, redux=0.1, seconds=1.0)).lanes[1]
    assert lane.speed_norm == pytest.approx(-9)
    assert (lane.score, lane.rank) == (0.0, 1)


def test_each_lane_is_compared_with_the_baseline_of_its_own_sitting() -> None:
    lane = rank(make_record("a", seconds=0.3, base_seconds=0.6)).lanes[1]
    assert lane.speed_norm == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"pro": 0.5, "redux": 0.7}, {}),  # higher score
        ({"pro": 0.3, "seconds": 0.01}, {}),  # ... which goes before a higher Perf
        # Equal score 0 by clipping, then higher Perf
        ({"pro": 0.2, "redux": 0.2, "seconds": 9.0}, {"pro": 0.1, "redux": 0.1, "seconds": 9.0}),
        # ... which goes before a smaller size
        (
            {"pro": 0.2, "redux": 0.2, "seconds": 9.0, "size_bytes": 100},
            {"pro": 0.1, "redux": 0.1, "seconds": 9.0, "size_bytes": 1},
        ),
        ({"size_bytes": 99}, {"size_bytes": 100}),  # smaller
        # ... which goes before a higher gain
        (
            {"pro": 0.1, "redux": 0.1, "seconds": 9.0, "size_bytes": 99},
            {"pro": 0.1, "redux": 0.1, "seconds": 5.0},
        ),
        ({"size_bytes": 100}, {"size_bytes": None}),  # a known size before an unknown one
        # Equal score 0 by clipping, then a higher gain: −4 over −8, though it took more seconds a token
        (
            {"pro": 0.1, "redux": 0.1, "seconds": 0.50, "base_seconds": 0.10},
            {"pro": 0.1, "redux": 0.1, "seconds": 0.45, "base_seconds": 0.05},
        ),
    ],
)
def test_ties_break_by_each_level_of_the_rule(first: dict[str, Any], second: dict[str, Any]) -> None:
    winner, loser = make_record("z_winner", **first), make_record("a_loser", **second)
    for records in ([winner, loser], [loser, winner]):
        ranking = rank(*records)
        assert order(ranking) == ["baseline", "z_winner", "a_loser"]
        assert [lane.rank for lane in ranking.lanes] == [None, 1, 2]


def test_a_full_tie_goes_by_name_and_no_rank_is_shared() -> None:
    records = [make_record(name) for name in "dbca"]
    random.Random(42).shuffle(records)
    ranking = rank(*records)
    assert order(ranking) == ["baseline", "a", "b", "c", "d"]
    assert [lane.rank for lane in ranking.lanes[1:]] == [1, 2, 3, 4]
    assert TIE_RULE in ranking.rules


@pytest.mark.parametrize(
    ("first", "second", "quality_weight"),
    [
        ({"pro": 0.1, "redux": 0.1}, {"pro": 0.0, "redux": 0.0, "seconds": 9.0}, 0.5),  # a score of 0
        ({"pro": 0.1, "redux": 0.1, "seconds": 9.0}, {"pro": 0.0, "redux": 0.0, "seconds": 9.0}, 0.5),  # Perf
        ({"seconds": 0.05}, {"seconds": 0.1}, 1.0),  # a gain of 0
    ],
)
def test_a_zero_is_the_least(first: dict[str, Any], second: dict[str, Any], quality_weight: float) -> None:
    records = [make_record("a_loser", **second), make_record("z_winner", **first)]
    assert order(rank(*records, quality_weight=quality_weight)) == ["baseline", "z_winner", "a_loser"]


def test_lanes_without_a_rank_stand_by_their_names() -> None:
    records = [make_record(name, seconds=None) for name in "cab"]
    assert order(rank(*records)) == ["baseline", "a", "b", "c"]


def test_a_benchmark_of_no_weight_is_not_used() -> None:
    ranking = rank_lanes([BASE, make_record("a", redux=None)], {"kmmlu_pro": 0.5, "kmmlu_redux": 0.0})
    assert ranking.weights_used == {"kmmlu_pro": 0.5}
    assert ranking.lanes[1].perf == pytest.approx(0.4) and ranking.lanes[1].rank == 1


def test_a_missing_metric_makes_a_lane_incomplete() -> None:
    records = [make_record("a", redux=None), make_record("b", seconds=None), make_record("c")]
    ranking = rank(*records, make_record("d", redux=None, seconds=None))
    assert order(ranking) == ["baseline", "c", "a", "b", "d"]
    a, b, d = ranking.lanes[2:]
    assert (a.record.status, a.record.reason) == ("incomplete", "not measured: kmmlu_redux")
    assert (b.record.status, b.record.reason) == ("incomplete", "not measured: seconds per token")
    assert d.record.reason == "not measured: kmmlu_redux, seconds per token"
    assert a.rank is b.rank is a.score is b.score is None
    assert b.perf == pytest.approx(0.5)


def test_a_failed_lane_stands_at_the_end_with_its_reason() -> None:
    failed = make_record("a", status="failed", reason="stage gptq: out of memory")
    ranking = rank(failed, make_record("b"))
    assert order(ranking) == ["baseline", "b", "a"]
    last = ranking.lanes[-1]
    assert (last.rank, last.score, last.perf) == (None, None, None)
    assert (last.record.status, last.record.reason) == ("failed", "stage gptq: out of memory")


def test_perf_of_the_baseline_zero_leaves_all_unscored() -> None:
    records = [make_record("baseline", pro=0.0, redux=0.0, seconds=0.1), make_record("a")]
    ranking = rank_lanes(records, WEIGHTS)
    assert [lane.record.status for lane in ranking.lanes] == ["unscored", "unscored"]
    assert all(lane.score is None and lane.rank is None for lane in ranking.lanes)
    reason = "no lane can be scored: Perf of the baseline is 0, and Perf/Perf_base has no value"
    assert ranking.lanes[1].record.reason == reason and reason in ranking.notes
    assert ranking.lanes[1].perf == pytest.approx(0.5)


def test_a_baseline_without_a_value_leaves_all_unscored() -> None:
    own = make_record("b", status="incomplete", reason="of its own")
    ranking = rank_lanes([make_record("baseline", pro=None, redux=None), make_record("a"), own], WEIGHTS)
    assert [lane.record.status for lane in ranking.lanes] == ["unscored"] * 3
    assert ranking.weights_used == {}
    assert ranking.notes[:3] == [
        "kmmlu_pro (weight 0.5) is left out: the baseline has no value for it; its weight is shared by the "
        "others.",
        "kmmlu_redux (weight 0.5) is left out: the baseline has no value for it; its weight is shared by the "
        "others.",
        "no lane can be scored: the baseline has no benchmark value",
    ]
    assert [lane.record.reason for lane in ranking.lanes[1:]] == [ranking.notes[2], "of its own"]


def test_a_failed_baseline_leaves_all_unscored_but_failures_failed() -> None:
    base = make_record("baseline", status="failed", reason="no GPU", pro=None, redux=None, seconds=None)
    failed = make_record("b", status="failed", reason="disk full")
    ranking = rank_lanes([base, make_record("a"), failed], WEIGHTS)
    statuses = {lane.record.lane: lane.record.status for lane in ranking.lanes}
    assert statuses == {"baseline": "failed", "a": "unscored", "b": "failed"}
    assert ranking.lanes[1].record.reason == "no lane can be scored: the baseline failed (no GPU)"


@pytest.mark.parametrize("seconds", [None, float("nan")])
def test_a_baseline_without_a_speed_leaves_all_unscored(seconds: float | None) -> None:
    other = make_record("b")
    assert other.speed is not None
    other.speed.device = "NVIDIA H100"
    ranking = rank_lanes([make_record("baseline", seconds=seconds), make_record("a"), other], WEIGHTS)
    assert [lane.record.status for lane in ranking.lanes] == ["unscored"] * 3
    assert all(lane.score is None and lane.rank is None for lane in ranking.lanes)
    assert ranking.lanes[1].record.reason == (
        "no lane can be scored: the baseline has no seconds per token, or none that is a finite number"
    )


def test_a_lane_timed_against_another_base_model_is_refused() -> None:
    base, same, other = BASE.model_copy(deep=True), make_record("same"), make_record("other")
    for record, size in ((base, 2_558), (same, 2_558), (other, 5_000)):
        assert record.speed is not None
        record.speed.baseline_cost = ModelCost(weight_bytes_per_step=size, kernels={"linear: BF16": 210})
    ranking = rank_lanes([base, same, other], WEIGHTS)
    assert order(ranking) == ["baseline", "same", "other"]
    assert ranking.lanes[1].rank == 1 and ranking.lanes[2].rank is None
    assert "baseline model's bytes a step: 5000, the baseline's 2558" in ranking.lanes[2].record.reason


def test_a_benchmark_that_the_baseline_lacks_is_left_out_for_all_and_noted() -> None:
    weights = {**WEIGHTS, "komt_bench": 1.0, "ko_longrag": 0.0}
    judge = BenchmarkResult(metric="judge", version=1, value=None, note="no judge is configured")
    base = BASE.model_copy(update={"benchmarks": {**BASE.benchmarks, "komt_bench": judge}})
    rich = make_record("rich")
    rich.benchmarks["komt_bench"] = BenchmarkResult(metric="judge", version=1, value=0.9)
    weights["unheard_of"] = 0.125
    ranking = rank_lanes([base, rich, make_record("plain")], weights)
    assert ranking.weights_used == WEIGHTS
    assert ranking.lanes[1].perf == ranking.lanes[2].perf == pytest.approx(0.5)
    assert ranking.notes[:2] == [
        "komt_bench (weight 1) is left out: no judge is configured; its weight is shared by the others.",
        "unheard_of (weight 0.125) is left out: the baseline has no value for it; its weight is shared by "
        "the others.",
    ]
    assert not any("ko_longrag" in note for note in ranking.notes)


def test_no_baseline_is_a_user_error_with_a_remedy() -> None:
    with pytest.raises(InputError) as caught:
        rank_lanes([make_record("a")], WEIGHTS)
    assert caught.value.message == "there is no baseline record to score against"
    assert caught.value.remedy == (
        "evaluate the base model first (scripts/04_eval_vllm.py --model … --baseline)"
    )


def test_two_records_of_one_lane_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        rank(*(make_record(name) for name in "cbaba"))
    assert caught.value.message == "more than one record of the lane a, b"
    assert caught.value.remedy == "leave one of each in the results folder"


def test_the_baseline_is_the_lane_that_is_named_so() -> None:
    records = [make_record(name, seconds=0.1) for name in ("a", "base", "b")]
    for record in records:
        assert record.speed
        record.speed.shapes = "the same"
    ranking = rank_lanes(records, WEIGHTS, baseline="base", experiment="demo")
    assert ranking.experiment == "demo" and rank().experiment == ""
    assert [(lane.record.lane, lane.rank) for lane in ranking.lanes] == [("base", None), ("a", 1), ("b", 2)]
    assert [lane.pooled_with for lane in ranking.lanes] == [[], ["b"], ["a"]]
    assert ranking.rules == [TIE_RULE, POOL_RULE] and rank(make_record("a")).rules == [TIE_RULE]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"device": "NVIDIA L4"}, "device: NVIDIA L4, the baseline's cpu: test"),
        ({"engine": "vllm"}, "engine: vllm, the baseline's transformers"),
        ({"form": "decode_b1"}, "form: decode_b1, the baseline's decode"),
        ({"gpu": {"driver": "550.54"}}, "GPU driver: 550.54, the baseline's not known"),
    ],
)
def test_a_speed_of_other_conditions_is_refused(change: dict[str, Any], expected: str) -> None:
    other = make_record("a")
    assert other.speed is not None
    other.speed = other.speed.model_copy(update=change)
    ranking = rank(other, make_record("b"))
    assert order(ranking) == ["baseline", "b", "a"]
    last = ranking.lanes[-1]
    assert (last.rank, last.score, last.record.status) == (None, None, "incomplete")
    assert last.record.reason == (
        f"its speed cannot be compared with the others' ({expected}); remedy: {REMEDY}"
    )


def test_a_baseline_that_moves_from_sitting_to_sitting_is_warned_of() -> None:
    calm = rank(make_record("a", base_seconds=0.104, seconds=0.052))
    assert not any("not steady" in note for note in calm.notes)
    rough = rank(make_record("a", base_seconds=0.12, seconds=0.06))
    (note,) = [note for note in rough.notes if "not steady" in note]
    assert "moved by 18.2% over 2 sittings (0.1 beside baseline, 0.12 beside a)" in note
    assert rough.lanes[1].rank == 1


def test_the_drift_leaves_out_what_is_refused() -> None:
    other = make_record("a", base_seconds=0.5)
    assert other.speed is not None
    other.speed.device = "NVIDIA L4"
    assert not any("not steady" in note for note in rank(other).notes)


def test_a_contaminated_lane_is_ranked_with_a_warning() -> None:
    ranking = rank(make_record("a", contamination={"kmmlu_pro": 2, "ko_longrag": 1, "kmmlu_redux": 0}))
    assert ranking.lanes[1].rank == 1 and ranking.lanes[1].record.is_contaminated
    assert not make_record("b", contamination={"kmmlu_pro": 0}).is_contaminated
    assert not make_record("c", contamination=None).is_contaminated
    assert ranking.notes == [
        "a is contaminated: its training or calibration text holds 2 items of kmmlu_pro, 1 item of "
        "ko_longrag. It is ranked, but its quality there proves nothing."
    ]


def make_timed(lane: str, free: float, matched: float, tokens: int = 80) -> LaneRecord:
    """Make a record of a sitting of its own, its replies timed as they end and of equal length."""
    record = make_record(lane, base_seconds=0.12, contamination=None)
    assert record.speed
    record.speed.sitting = lane
    for kind, ratio in (("benchmark", free), ("matched", matched)):
        record.speed.forms[kind] = SpeedForm.model_validate(
            {
                "kind": kind, "s_per_token": 0.1, "s_per_token_all": [0.1], "baseline_s_per_token": 0.1,
                "baseline_s_per_token_all": [0.1], "ratio": ratio, "ratio_low": ratio, "ratio_high": ratio,
                "n_sequences": 8, "tokens": tokens, "baseline_tokens": 80, "seconds": 1.0,
                "baseline_seconds": 1.0,
            }
        )  # fmt: skip
    return record


def test_all_that_is_doubtful_is_noted_in_turn() -> None:
    weights = {**WEIGHTS, "komt_bench": 1.0}
    one, other = make_timed("a", 0.5, 0.7, tokens=160), make_timed("b", 0.6, 0.6)
    spoilt = make_record("c", contamination={"kmmlu_pro": 1})
    gone = make_record("d", status="failed", reason="out of memory", contamination=None)
    assert other.speed
    other.speed.warnings = ["clocks fell", "another process ran"]
    notes = rank_lanes([BASE, one, other, spoilt, gone], weights).notes
    assert [note.split(" ")[0] for note in notes] == [
        "komt_bench", "c", "Not", "The", "The", "a", "`benchmark`"
    ]  # fmt: skip
    assert notes[1].startswith(
        "c is contaminated: its training or calibration text holds 1 item of kmmlu_pro."
    )
    assert notes[2:4] == [
        "Not known whether benchmark items stand in the training or calibration text: a, b.",
        "The speed of b is doubtful: clocks fell; another process ran.",
    ]
    assert "moved by" in notes[4] and "20 tokens an item" in notes[5]
    assert "differently: a and b." in notes[6]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_counts_as_not_measured(bad: float) -> None:
    quality, speed = make_record("a", pro=bad), make_record("b", seconds=bad)
    ranking = rank(quality, speed, make_record("c", stage_seconds={"gptq": bad, "sft": 2.0}))
    assert order(ranking) == ["baseline", "c", "a", "b"]
    assert [lane.record.reason for lane in ranking.lanes[2:]] == [
        "not measured: kmmlu_pro", "not measured: seconds per token",
    ]  # fmt: skip
    assert ranking.lanes[1].record.stage_seconds == {"sft": 2.0}
    assert Ranking.model_validate_json(ranking.model_dump_json()) == ranking


def test_a_baseline_without_a_number_leaves_its_benchmark_out() -> None:
    ranking = rank_lanes([make_record("baseline", pro=float("nan"), seconds=0.1), make_record("a")], WEIGHTS)
    assert ranking.weights_used == {"kmmlu_redux": 0.5}
    assert "its value is not a finite number" in ranking.notes[0]


def test_a_form_without_a_number_goes_alone() -> None:
    record = make_record("a")
    assert record.speed is not None
    form = SpeedForm(
        kind="decode", s_per_token=0.1, s_per_token_all=[0.1],
        baseline_s_per_token=0.2, baseline_s_per_token_all=[0.2],
        ratio=0.5, n_sequences=1, tokens=8, baseline_tokens=8, seconds=0.8, baseline_seconds=1.6,
    )  # fmt: skip
    broken = form.model_copy(update={"s_per_token_all": [float("nan")]})
    record.speed.forms = {"decode_b1": form, "free": broken}
    cleaned = drop_non_finite(record)
    assert cleaned.speed and list(cleaned.speed.forms) == ["decode_b1"]
    assert list(record.speed.forms) == ["decode_b1", "free"]


def test_a_lane_with_an_objection_is_not_ranked() -> None:
    ranking = rank(make_record("a"), make_record("b"), objections={"a": "kmmlu_pro: 1 item missing: x (0)"})
    assert order(ranking) == ["baseline", "b", "a"]
    assert (ranking.lanes[-1].record.status, ranking.lanes[-1].record.reason) == (
        "incomplete", "asked otherwise than the baseline: kmmlu_pro: 1 item missing: x (0)"
    )  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"metric": "f1"}, {"n_items": 9}, {"judge": "another-judge"}]
)
@pytest.mark.parametrize("names", [["kmmlu_redux"], ["kmmlu_pro", "kmmlu_redux"]])
def test_values_of_other_questions_are_not_compared(change: dict[str, Any], names: list[str]) -> None:
    lane = make_record("a")
    lane.benchmarks |= {name: lane.benchmarks[name].model_copy(update=change) for name in names}
    ranked = rank(lane).lanes[1]
    assert (ranked.rank, ranked.score, ranked.record.status) == (None, None, "incomplete")
    assert ranked.record.reason == (
        f"asked otherwise than the baseline (version, metric, items or judge): {', '.join(names)}"
    )


def test_ranking_leaves_the_records_as_they_were() -> None:
    record = make_record("a", redux=None)
    rank(record)
    assert (record.status, record.reason) == ("ok", "")
