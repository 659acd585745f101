"""The end of a run in a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from lanekit.commands.outcome_table import show_outcome
from lanekit.plan.graph import ArtifactRef
from lanekit.results.course import Outcome
from lanekit.results.schema import LaneRecord, RankedLane, Ranking

REF = ArtifactRef(key="0" * 64, path="results/summary-0")


def test_why_a_lane_with_a_place_has_no_package_is_said() -> None:
    lanes = [
        RankedLane(rank=rank, record=LaneRecord(lane=name), score=0.5)
        for rank, name in ((None, "baseline"), (1, "a"), (2, "b"))
    ]
    ranking = Ranking(experiment="e", lanes=lanes, weights_used={}, notes=["a note"])
    outcome = Outcome(ranking, REF, packages={"b": REF}, passed_over={"a": "it needs engine arguments: x=y"})
    stream = io.StringIO()
    show_outcome(Console(file=stream, width=120), outcome)
    lines = stream.getvalue().splitlines()
    assert "a: no package: it needs engine arguments: x=y" in lines and "note: a note" in lines
    row = next(line for line in lines if line.split()[:2] == ["2", "b"])
    assert row.split()[-1] == "top1"
