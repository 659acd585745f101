"""A lane over several draws is ordered by its mean, and packaged as its first."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import LaneRecord
from ranker.scoring.replicates import FIRST_RULE, group_replicates, list_scored
from ranker.scoring.score import rank_lanes

Make = Callable[..., LaneRecord]
WEIGHTS = {"kmmlu_pro": 0.5, "kmmlu_redux": 0.5}


def rank(*records: LaneRecord) -> Ranking:
    return rank_lanes(list(records), WEIGHTS)


def find(ranking: Ranking, name: str) -> RankedLane:
    return next(lane for lane in ranking.evaluated if lane.record.lane == name)


def fail(name: str) -> LaneRecord:
    return LaneRecord(lane=name, status="failed", reason="stage gptq: out of memory\n  remedy: less")


def test_a_lane_is_ordered_by_the_mean_not_by_its_first_or_best(make_record: Make) -> None:
    base = make_record("baseline", seconds=0.1)
    lucky = [make_record(f"lucky{end}", pro=pro) for end, pro in (("", 0.5), ("-r2", 0.3), ("-r3", 0.1))]
    steady = [make_record(f"steady{end}", pro=0.4) for end in ("", "-r2")]
    ranking = rank(base, *lucky, *steady)
    assert [lane.record.lane for lane in ranking.lanes] == ["baseline", "steady", "lucky"]
    lane = find(ranking, "lucky")
    assert lane.record == lucky[0], "the package, its record and its tests are the first's"
    assert lane.perf == pytest.approx((0.55 + 0.45 + 0.35) / 3)
    assert lane.perf_norm == pytest.approx(0.45 / 0.5)
    assert lane.score == pytest.approx(0.5 * 0.9 + 0.5 * 0.5)
    found = lane.replicates
    assert found and found.lanes == ["lucky", "lucky-r2", "lucky-r3"]
    assert found.perfs == pytest.approx([0.55, 0.45, 0.35])
    assert found.perf and found.perf.deviation == pytest.approx(statistics.stdev([0.55, 0.45, 0.35]))
    assert found.score and found.score.mean == lane.score
    assert found.score.deviation == pytest.approx(0.5 * 0.1 / 0.5)
    assert found.benchmarks["kmmlu_pro"].mean == pytest.approx(0.3)
    assert found.benchmarks["kmmlu_redux"].deviation == 0
    assert FIRST_RULE in ranking.rules
    assert not any("replicate" in note for note in ranking.notes)


def test_replicates_stand_apart_and_have_no_rank(make_record: Make) -> None:
    ranking = rank(make_record("baseline", seconds=0.1), make_record("a-r2", pro=0.9), make_record("a"))
    assert [lane.record.lane for lane in ranking.lanes] == ["baseline", "a"]
    (other,) = ranking.replicates
    assert other.record.lane == "a-r2" and other.rank is None and other.perf == pytest.approx(0.75)
    assert [lane.record.lane for lane in ranking.evaluated] == ["baseline", "a", "a-r2"]


def test_without_replicates_nothing_is_said_of_them(make_record: Make) -> None:
    ranking = rank(make_record("baseline", seconds=0.1), make_record("a"))
    assert ranking.replicates == [] and ranking.lanes[1].replicates is None
    assert FIRST_RULE not in ranking.rules


def test_replicates_are_counted_by_number_not_by_the_alphabet(make_record: Make) -> None:
    names = ["a-r10", "a-r2", "a", "baseline"]
    lane = find(rank(*(make_record(name) for name in names)), "a")
    assert lane.replicates and lane.replicates.lanes == ["a", "a-r2", "a-r10"]


def test_a_failed_replicate_is_told_and_the_mean_is_over_the_others(make_record: Make) -> None:
    base = make_record("baseline", seconds=0.1)
    ranking = rank(base, make_record("a", pro=0.5), make_record("a-r2", pro=0.3), fail("a-r3"))
    lane = find(ranking, "a")
    assert lane.perf == pytest.approx(0.5) and list_scored(lane) == ["a", "a-r2"]
    assert lane.replicates and lane.replicates.scores[2] is None
    (note,) = [note for note in ranking.notes if "replicates" in note]
    assert note == "a: its mean is over 2 of 3 replicates (a-r3: stage gptq: out of memory remedy: less)."


def test_each_missing_replicate_is_told_with_its_reason(make_record: Make) -> None:
    base = make_record("baseline", seconds=0.1)
    silent, slow = LaneRecord(lane="a-r3", status="failed"), make_record("a-r4", pro=0.9)
    slow.speed = None
    ranking = rank(base, make_record("a", pro=0.5), make_record("a-r2", pro=0.3), silent, slow)
    (note,) = [note for note in ranking.notes if "replicates" in note]
    assert note.endswith("2 of 4 replicates (a-r3: no score; a-r4: not measured: seconds per token).")
    lane = find(ranking, "a")
    assert lane.replicates and lane.replicates.perfs[2:] == [None, None], "a Perf of no score is in no mean"


def test_where_the_first_alone_is_left_the_numbers_are_its_own_and_that_is_told(make_record: Make) -> None:
    ranking = rank(make_record("baseline", seconds=0.1), make_record("a", pro=0.5), fail("a-r2"))
    lane = find(ranking, "a")
    assert lane.perf == pytest.approx(0.55) and lane.rank == 1
    assert lane.replicates and lane.replicates.score is None
    (note,) = [note for note in ranking.notes if "replicate" in note]
    assert note.startswith(
        "a: its numbers are the first replicate's alone, and their intervals hold no draw (a"
    )


def test_a_lane_whose_first_failed_has_no_rank_whatever_the_others(make_record: Make) -> None:
    ranking = rank(make_record("baseline", seconds=0.1), fail("a"), make_record("a-r2"), make_record("a-r3"))
    lane = find(ranking, "a")
    assert lane.rank is None and lane.score is None and lane.replicates
    assert lane.replicates.score is None and lane.replicates.scores[1] is not None


def test_a_lane_without_rank_is_not_warned_of_besides(make_record: Make) -> None:
    ranking = rank(make_record("baseline", seconds=0.1), fail("a"), make_record("a-r2"), fail("a-r3"))
    assert not any("replicate" in note for note in ranking.notes)


def test_a_replicate_without_its_lane_is_not_ranked_and_says_why(make_record: Make) -> None:
    ranking = rank(make_record("baseline", seconds=0.1), make_record("a-r2"), make_record("b"))
    orphan = ranking.lanes[-1]
    assert orphan.record.lane == "a-r2" and orphan.rank is None and orphan.record.status == "incomplete"
    assert "replicate 2 of a, of which there is no first; remedy:" in orphan.record.reason
    assert orphan.record.reason.endswith("(scripts/run_all.py --only a), or take results/a-r2/ away")
    assert rank(make_record("baseline", seconds=0.1), fail("a-r2")).lanes[-1].record.status == "failed"


def test_a_contaminated_replicate_is_told(make_record: Make) -> None:
    base, first = make_record("baseline", seconds=0.1), make_record("a")
    ranking = rank(base, first, make_record("a-r2", contamination={"kmmlu_pro": 2}))
    assert any(note.startswith("a-r2 is contaminated") for note in ranking.notes)


def test_the_speed_of_replicates_is_in_no_pool(make_record: Make) -> None:
    records = [make_record(name) for name in ("baseline", "a", "a-r2", "a-r3")]
    for record in records:
        assert record.speed
        record.speed.shapes = "the same"
    lane = find(rank(*records), "a")
    assert lane.pooled_with == []


def test_a_family_keeps_every_record(make_record: Make) -> None:
    records = [make_record(name) for name in ("a-r3", "b", "a", "c-r2", "a-r2")]
    family = group_replicates(records)
    assert [record.lane for record in family.firsts] == ["b", "a"]
    assert {lane: [r.lane for r in found] for lane, found in family.others.items()} == {"a": ["a-r2", "a-r3"]}
    assert [record.lane for record in family.orphans] == ["c-r2"]
