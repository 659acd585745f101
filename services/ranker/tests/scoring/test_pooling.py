"""Equal shapes, equal speed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import pytest

from lanekit.results.ranking import RankedLane
from lanekit.results.schema import LaneRecord
from lanekit.results.speed import SpeedForm
from lanekit.spec.lane_engine import LaneEngine
from ranker.scoring.pooling import POOL_RULE, pool_equal_shapes
from ranker.scoring.score import rank_lanes

WEIGHTS = {"kmmlu_pro": 1.0}
Maker = Callable[..., LaneRecord]


@pytest.fixture
def make_timed(make_record: Maker, make_form: Callable[..., SpeedForm]) -> Maker:
    """Make a record of one form whose repeats are of these ratios to the baseline's 0.1 s."""

    def make(lane: str, ratios: list[float], *, shapes: str = "", kind: str = "decode") -> LaneRecord:
        record = make_record(lane, seconds=0.1 * statistics.median(ratios))
        assert record.speed is not None
        record.speed.form, record.speed.shapes = kind, shapes
        record.speed.forms = {kind: make_form(kind, ratios)}
        return record

    return make


def rank(records: list[LaneRecord]) -> dict[str, RankedLane]:
    ranking = rank_lanes(records, WEIGHTS)
    assert (POOL_RULE in ranking.rules) == any(lane.pooled_with for lane in ranking.lanes)
    return {lane.record.lane: lane for lane in ranking.lanes}


def test_lanes_of_equal_shapes_have_one_speed(make_timed: Maker) -> None:
    lanes = rank(
        [
            make_timed("baseline", [1.0, 1.0, 1.0]),
            make_timed("a", [0.7, 0.8, 0.9], shapes="w4"),
            make_timed("b", [0.75, 0.85, 0.95], shapes="w4"),
            make_timed("c", [0.6, 0.6, 0.6], shapes="other"),
        ]
    )
    assert lanes["a"].speed_norm == lanes["b"].speed_norm == pytest.approx(1 - math.sqrt(0.8 * 0.85))
    assert lanes["a"].pooled_with == ["b"] and lanes["b"].pooled_with == ["a"]
    assert lanes["a"].pooled_ratios == {"decode": pytest.approx(math.sqrt(0.8 * 0.85))}
    assert lanes["a"].record.speed and lanes["a"].record.speed.ratio == pytest.approx(0.8)  # its own, shown
    assert lanes["c"].speed_norm == pytest.approx(0.4) and lanes["c"].pooled_with == []


def test_a_replicate_has_the_speed_of_its_lanes_pool(make_timed: Maker) -> None:
    ratios = {"baseline": [1.0], "a": [0.7, 0.8], "b": [0.9, 1.0], "a-r2": [0.5, 0.5]}
    records = [make_timed(name, found, shapes="w4") for name, found in ratios.items()]
    ranking = rank_lanes(records, WEIGHTS)
    speeds = {lane.record.lane: lane.speed_norm for lane in ranking.evaluated}
    assert speeds["a-r2"] == speeds["a"] == speeds["b"]


@pytest.mark.parametrize("kind", ["benchmark", "free"])
def test_replies_that_the_model_ends_are_not_pooled(make_timed: Maker, kind: str) -> None:
    records = [make_timed(n, [r], shapes="w4", kind=kind) for n, r in (("a", 0.7), ("b", 0.9))]
    lanes = rank([make_timed("baseline", [1.0], kind=kind), *records])
    assert lanes["a"].speed_norm == pytest.approx(0.3)
    assert lanes["b"].speed_norm == pytest.approx(0.1)
    assert lanes["a"].pooled_ratios == {}


def test_the_baseline_and_other_conditions_stay_out(make_timed: Maker) -> None:
    base, a, b = (make_timed(n, [0.8], shapes="same") for n in ("baseline", "a", "b"))
    assert b.speed is not None
    b.speed.device = "another GPU"
    assert pool_equal_shapes([base, a, b], "baseline") == {}
    b.speed.device = a.speed.device if a.speed else ""
    assert set(pool_equal_shapes([base, a, b], "baseline")) == {"a", "b"}


def test_each_group_has_its_pool_and_a_lane_alone_has_none(make_timed: Maker) -> None:
    timed = [("alone", 0.5, "one"), ("d", 0.9, "w8"), ("c", 0.7, "w8"), ("b", 0.8, "w4"), ("a", 0.6, "w4"),
             ("unlike", 0.4, ""), ("any", 0.3, "")]  # fmt: skip
    untimed = LaneRecord(lane="untimed")
    records = [make_timed(lane, [ratio], shapes=shapes) for lane, ratio, shapes in timed]
    pools = pool_equal_shapes([make_timed("baseline", [1.0], shapes="w4"), untimed, *records], "baseline")
    assert {lane: pool.lanes for lane, pool in pools.items()} == {
        "a": ("a", "b"), "b": ("a", "b"), "c": ("c", "d"), "d": ("c", "d"),
    }  # fmt: skip
    assert pools["a"].forms["decode"].ratio == pytest.approx(math.sqrt(0.6 * 0.8))
    assert pools["c"].forms["decode"] == ([pytest.approx(0.09), pytest.approx(0.07)], [0.1, 0.1])


@pytest.mark.parametrize("place", [0, 1])
def test_only_forms_that_all_have_in_pairs_are_pooled(
    make_timed: Maker, make_form: Callable[..., SpeedForm], place: int
) -> None:
    records = [make_timed(lane, [0.8], shapes="w4") for lane in "ab"]
    for record in records:
        assert record.speed
        record.speed.forms |= {"matched": make_form("matched", [0.7, 0.9]), "free": make_form("free", [0.5])}
    changed = records[place].speed
    assert changed
    changed.forms["prefill"] = make_form("prefill", [0.5])  # the other has none
    assert set(pool_equal_shapes(records, "baseline")["a"].forms) == {"decode", "matched"}
    changed.forms["matched"].s_per_token_all.pop()
    assert set(pool_equal_shapes(records, "baseline")["a"].forms) == {"decode"}


def test_lanes_of_other_engine_arguments_are_other_work(make_timed: Maker) -> None:
    """Equal weights with an FP8 KV cache read less: their speed is their own."""
    plain, same, cached = (make_timed(n, [r], shapes="w4") for n, r in (("a", 0.7), ("b", 0.8), ("c", 0.5)))
    cached.engine = LaneEngine(kv_cache_dtype="fp8")
    pools = pool_equal_shapes([make_timed("baseline", [1.0]), plain, same, cached], "baseline")
    assert {lane: pool.lanes for lane, pool in pools.items()} == {"a": ("a", "b"), "b": ("a", "b")}
    other = make_timed("d", [0.6], shapes="w4")
    other.engine = LaneEngine(kv_cache_dtype="fp8")
    pools = pool_equal_shapes([make_timed("baseline", [1.0]), plain, cached, other], "baseline")
    assert {lane: pool.lanes for lane, pool in pools.items()} == {"c": ("c", "d"), "d": ("c", "d")}


def test_a_lane_with_engine_arguments_is_ranked_against_the_plain_baseline(make_timed: Maker) -> None:
    """Its own arguments are no other conditions: those are the baseline's, and equal."""
    lane = make_timed("a", [0.7])
    lane.engine = LaneEngine(kv_cache_dtype="fp8")
    found = rank([make_timed("baseline", [1.0]), lane])["a"]
    assert (found.rank, found.speed_norm) == (1, pytest.approx(0.3))
