"""A run's outcome out of a ranking with replicates."""

from __future__ import annotations

from controller.publish import describe_outcome, render_readme
from lanekit.plan.graph import ArtifactRef
from lanekit.results.course import Outcome
from lanekit.results.outcome import parse_outcome
from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import LaneRecord

REF = ArtifactRef(key="0" * 64, path="results/summary-0")


def test_replicates_stand_in_the_outcome_and_one_that_failed_is_counted() -> None:
    lane = RankedLane(rank=1, record=LaneRecord(lane="a"), score=0.5)
    others = [
        RankedLane(rank=None, record=LaneRecord(lane="a-r2"), score=0.6),
        RankedLane(rank=None, record=LaneRecord(lane="a-r3", status="failed", reason="no memory")),
    ]
    ranking = Ranking(experiment="e", lanes=[lane], weights_used={}, notes=[], replicates=others)
    ended = describe_outcome("run-0", Outcome(ranking, REF, packages={"a": REF}))
    assert [(r.lane, r.rank, r.score) for r in ended.records] == [
        ("a", 1, 0.5), ("a-r2", None, 0.6), ("a-r3", None, None),
    ]  # fmt: skip
    assert ended.phase == "complete" and ended.reason == "1 lane(s) failed"
    assert not ended.is_complete
    assert "`lanes/a-r2/metrics.json`" in render_readme(ended, {})


def test_a_lane_that_is_no_plain_package_is_told_of_and_is_no_failure() -> None:
    lanes = [RankedLane(rank=n, record=LaneRecord(lane=name), score=0.5) for n, name in ((1, "a"), (2, "b"))]
    ranking = Ranking(experiment="e", lanes=lanes, weights_used={}, notes=[])
    outcome = Outcome(ranking, REF, packages={"b": REF}, passed_over={"a": "it needs engine arguments: x=y"})
    ended = describe_outcome("run-0", outcome)
    assert (ended.phase, ended.reason, ended.is_complete) == ("complete", "", True)
    assert "`a` has no package: it needs engine arguments: x=y" in render_readme(ended, {})
    assert parse_outcome(ended.model_dump_json().encode(), "here").passed_over == outcome.passed_over
