"""Equal shapes, equal speed; and replies of other lengths are told."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from lanekit.results.schema import LaneRecord, RankedLane, SpeedForm
from ranker.scoring.lengths import differs_in_length, warn_of_lengths, warn_of_order
from ranker.scoring.pooling import POOL_RULE, pool_equal_shapes
from ranker.scoring.score import rank_lanes

WEIGHTS = {"kmmlu_pro": 1.0}
Maker = Callable[..., LaneRecord]


def make_form(kind: str, ratios: list[float], tokens: int = 80, base_tokens: int = 80) -> SpeedForm:
    """Make a form of eight prompts whose baseline takes 0.1 s a token."""
    middle = statistics.median(ratios)
    return SpeedForm.model_validate(
        {
            "kind": kind, "s_per_token": middle * 0.1, "s_per_token_all": [r * 0.1 for r in ratios],
            "baseline_s_per_token": 0.1, "baseline_s_per_token_all": [0.1] * len(ratios), "ratio": middle,
            "ratio_low": min(ratios), "ratio_high": max(ratios), "n_sequences": 8, "tokens": tokens,
            "baseline_tokens": base_tokens, "seconds": 1.0, "baseline_seconds": 1.0,
        }
    )  # fmt: skip


def make_timed(
    make_record: Maker, lane: str, ratios: list[float], *, shapes: str = "", kind: str = "decode"
) -> LaneRecord:
    record = make_record(lane, seconds=0.1 * statistics.median(ratios))
    assert record.speed is not None
    record.speed.form, record.speed.shapes = kind, shapes
    record.speed.forms = {kind: make_form(kind, ratios)}
    return record


def rank(records: list[LaneRecord]) -> dict[str, RankedLane]:
    ranking = rank_lanes(records, WEIGHTS)
    assert (POOL_RULE in ranking.rules) == any(lane.pooled_with for lane in ranking.lanes)
    return {lane.record.lane: lane for lane in ranking.lanes}


def test_lanes_of_equal_shapes_have_one_speed(make_record: Maker) -> None:
    lanes = rank(
        [
            make_timed(make_record, "baseline", [1.0, 1.0, 1.0]),
            make_timed(make_record, "a", [0.7, 0.8, 0.9], shapes="w4"),
            make_timed(make_record, "b", [0.75, 0.85, 0.95], shapes="w4"),
            make_timed(make_record, "c", [0.6, 0.6, 0.6], shapes="other"),
        ]
    )
    assert lanes["a"].speed_norm == lanes["b"].speed_norm == pytest.approx(1 - 0.825)
    assert lanes["a"].pooled_with == ["b"] and lanes["b"].pooled_with == ["a"]
    assert lanes["a"].pooled_ratios == {"decode": pytest.approx(0.825)}
    assert lanes["a"].record.speed and lanes["a"].record.speed.ratio == pytest.approx(0.8)  # its own, shown
    assert lanes["c"].speed_norm == pytest.approx(0.4) and lanes["c"].pooled_with == []


@pytest.mark.parametrize("kind", ["benchmark", "free"])
def test_replies_that_the_model_ends_are_not_pooled(make_record: Maker, kind: str) -> None:
    records = [make_timed(make_record, n, [r], shapes="w4", kind=kind) for n, r in (("a", 0.7), ("b", 0.9))]
    lanes = rank([make_timed(make_record, "baseline", [1.0], kind=kind), *records])
    assert lanes["a"].speed_norm == pytest.approx(0.3)
    assert lanes["b"].speed_norm == pytest.approx(0.1)
    assert lanes["a"].pooled_ratios == {}


def test_the_baseline_and_other_conditions_stay_out(make_record: Maker) -> None:
    base, a, b = (make_timed(make_record, n, [0.8], shapes="same") for n in ("baseline", "a", "b"))
    assert b.speed is not None
    b.speed.device = "another GPU"
    assert pool_equal_shapes([base, a, b], "baseline") == {}
    b.speed.device = a.speed.device if a.speed else ""
    assert set(pool_equal_shapes([base, a, b], "baseline")) == {"a", "b"}


def make_lane(make_record: Maker, name: str, free: SpeedForm, matched: SpeedForm) -> RankedLane:
    record = make_record(name)
    assert record.speed is not None
    record.speed.forms = {"benchmark": free, "matched": matched}
    return RankedLane(rank=1, record=record)


@pytest.mark.parametrize(
    ("tokens", "is_told"), [(80, False), (88, False), (89, True), (72, False), (71, True)]
)
def test_replies_of_another_length_are_told(make_record: Maker, tokens: int, is_told: bool) -> None:
    form = make_form("benchmark", [0.5], tokens=tokens)
    assert differs_in_length(form) == is_told
    lane = make_lane(make_record, "a", form, make_form("matched", [0.5]))
    warnings = warn_of_lengths([lane])
    assert len(warnings) == is_told
    if tokens == 89:
        assert "a says 11 tokens an item, the baseline 10 (+11%)" in warnings[0]
    assert not differs_in_length(make_form("matched", [0.5], tokens=160))


def test_two_clocks_that_order_otherwise_are_told(make_record: Maker) -> None:
    quick = make_lane(
        make_record, "a", make_form("benchmark", [0.70, 0.72]), make_form("matched", [0.9, 0.92])
    )
    slow = make_lane(
        make_record, "b", make_form("benchmark", [0.80, 0.82]), make_form("matched", [0.8, 0.82])
    )
    assert "a and b" in warn_of_order([quick, slow])[0]
    unsure = make_lane(
        make_record, "b", make_form("benchmark", [0.80, 0.82]), make_form("matched", [0.8, 0.95])
    )
    assert warn_of_order([quick, unsure]) == []  # the intervals overlap: no order to turn round
    assert warn_of_order([quick, quick]) == []
