"""Replies of another length than the baseline's are told, and what they make of the order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lanekit.results.ranking import RankedLane
from lanekit.results.schema import LaneRecord
from lanekit.results.speed import SpeedForm
from ranker.scoring.lengths import differs_in_length, warn_of_lengths, warn_of_order

MakeForm = Callable[..., SpeedForm]
MakeLane = Callable[..., RankedLane]
UNMEASURED = RankedLane(rank=None, record=LaneRecord(lane="untimed"))


@pytest.fixture
def make_lane(make_record: Callable[..., LaneRecord]) -> MakeLane:
    """Make a ranked lane with these forms of timing."""

    def make(lane: str, *, rank: int | None = 1, **forms: SpeedForm) -> RankedLane:
        record = make_record(lane)
        assert record.speed is not None
        record.speed.forms = forms
        return RankedLane(rank=rank, record=record)

    return make


@pytest.fixture
def make_pair(make_lane: MakeLane, make_form: MakeForm) -> MakeLane:
    """Make a ranked lane by the intervals of its ratio in `benchmark` and in `matched`."""

    def make(lane: str, free: list[float], matched: list[float], *, rank: int | None = 1) -> RankedLane:
        forms = {"benchmark": make_form("benchmark", free), "matched": make_form("matched", matched)}
        return make_lane(lane, rank=rank, **forms)

    return make


@pytest.mark.parametrize("kind", ["free", "benchmark"])
@pytest.mark.parametrize(
    ("tokens", "base_tokens", "expected"),
    [(80, 80, False), (88, 80, False), (89, 80, True), (72, 80, False), (71, 80, True), (8, 0, False),
     (2, 1, True)],
)  # fmt: skip
def test_more_than_ten_percent_is_another_length(
    make_form: MakeForm, kind: str, tokens: int, base_tokens: int, expected: bool
) -> None:
    assert differs_in_length(make_form(kind, [0.5], tokens=tokens, base_tokens=base_tokens)) is expected


@pytest.mark.parametrize("kind", ["matched", "decode", "prefill"])
def test_fixed_lengths_do_not_differ(make_form: MakeForm, kind: str) -> None:
    assert not differs_in_length(make_form(kind, [0.5], tokens=160))
    assert not differs_in_length(None)


@pytest.mark.parametrize(
    ("tokens", "said"), [(89, "11 tokens an item, the baseline 10 (+11%)"),
                         (40, "5 tokens an item, the baseline 10 (-50%)")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["benchmark", "free"])
def test_each_lane_of_another_length_is_warned_of(
    make_lane: MakeLane, make_form: MakeForm, name: str, tokens: int, said: str
) -> None:
    same = make_lane("same", **{name: make_form(name, [0.5])})
    fixed = make_lane("fixed", matched=make_form("matched", [0.5], tokens=160))
    other = make_lane("a", **{name: make_form(name, [0.5], tokens=tokens)})
    assert warn_of_lengths([UNMEASURED, same, fixed, other]) == [
        f"a says {said}: its seconds per token are of other work. The form `matched` compares equal work."
    ]


def test_the_benchmarks_own_replies_go_before_free_ones(make_lane: MakeLane, make_form: MakeForm) -> None:
    forms = {"free": make_form("free", [0.5], tokens=160), "benchmark": make_form("benchmark", [0.5])}
    assert warn_of_lengths([make_lane("a", **forms)]) == []


def test_two_clocks_that_order_otherwise_are_told(make_pair: MakeLane, make_lane: MakeLane) -> None:
    quick = make_pair("a", [0.70, 0.72], [0.90, 0.92])
    slow = make_pair("b", [0.80, 0.82], [0.80, 0.82])
    slower = make_pair("c", [0.84, 0.86], [0.70, 0.72])
    (warning,) = warn_of_order([UNMEASURED, make_lane("half"), quick, slow, slower])
    assert warning == (
        "`benchmark` (replies ended by the model) and `matched` (equal work) order these lanes differently: "
        "a and b; a and c; b and c. One of the two is faster by the length of its replies."
    )
    quick.rank = None
    assert "differently: b and c." in warn_of_order([quick, slow, slower])[0]


@pytest.mark.parametrize(
    ("free", "matched"),
    [
        ([0.80, 0.82], [0.95, 0.97]),  # slower by both
        ([0.60, 0.62], [0.80, 0.82]),  # faster by both
        ([0.80, 0.82], [0.80, 0.95]),  # the intervals of `matched` overlap: no order to turn round
        ([0.71, 0.82], [0.80, 0.82]),
        ([0.72, 0.82], [0.80, 0.82]),  # they meet at one end
        ([0.80, 0.82], [0.80, 0.90]),
    ],
)
def test_intervals_that_agree_or_overlap_turn_nothing_round(
    make_pair: MakeLane, free: list[float], matched: list[float]
) -> None:
    one, other = make_pair("a", [0.70, 0.72], [0.90, 0.92]), make_pair("b", free, matched)
    assert warn_of_order([one, other]) == warn_of_order([other, one]) == []


@pytest.mark.parametrize("form", ["benchmark", "matched"])
@pytest.mark.parametrize("end", ["ratio_low", "ratio_high"])
def test_a_lane_without_an_interval_is_not_ordered(make_pair: MakeLane, form: str, end: str) -> None:
    one, other = make_pair("a", [0.70, 0.72], [0.90, 0.92]), make_pair("b", [0.80, 0.82], [0.80, 0.82])
    assert one.record.speed
    setattr(one.record.speed.forms[form], end, None)
    assert warn_of_order([one, other]) == warn_of_order([other, one]) == []


def test_a_lane_needs_both_clocks(make_pair: MakeLane, make_lane: MakeLane) -> None:
    one, other = make_pair("a", [0.70, 0.72], [0.90, 0.92]), make_pair("b", [0.80, 0.82], [0.80, 0.82])
    for name in ("benchmark", "matched"):
        assert other.record.speed
        half = make_lane("b", **{name: other.record.speed.forms[name]})
        assert warn_of_order([one, half]) == []
