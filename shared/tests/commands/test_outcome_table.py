"""The end of a run in a terminal, here and on the stack, where a lane needs engine arguments."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from lanekit.commands.outcome_table import show_outcome
from lanekit.commands.stack import status
from lanekit.commands.stack.fetch import list_all_refs
from lanekit.plan.graph import ArtifactRef, Plan
from lanekit.plan.run_document import describe_run
from lanekit.results.course import Outcome, make_verify_run
from lanekit.results.outcome import LaneOutcome, RunOutcome
from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import LaneRecord
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import load_experiment
from lanekit.spec.lane_engine import LaneEngine

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


def test_the_stacks_status_says_it_beside_the_rank() -> None:
    ended = RunOutcome(
        run_id="r", phase="complete", passed_over={"a": "it needs engine arguments: x=y"},
        records=(LaneOutcome(lane="a", status="ok", rank=1, score=0.5),
                 LaneOutcome(lane="b", status="ok", rank=2, score=0.4)),
    )  # fmt: skip
    stack: Any = SimpleNamespace()
    summary = status._describe_ended(stack, ended)
    assert summary.lanes == {
        "a": "rank 1, score 0.5000, no package: it needs engine arguments: x=y",
        "b": "rank 2, score 0.4000",
    }
    assert summary.failed == {}


def test_a_checked_package_is_fetched_with_its_own_engine_arguments(
    lanes_folder: Path, lock_digests: dict[str, str]
) -> None:
    engine, own = EngineParams(engine="vllm"), LaneEngine(kv_cache_dtype="fp8")
    experiment = load_experiment(lanes_folder / "experiment.yaml")
    spec = describe_run(experiment, Plan(), engine, lock_digests, "")
    lanes = [
        RankedLane(rank=1, record=LaneRecord(lane="a", engine=own)),
        RankedLane(rank=2, record=LaneRecord(lane="b")),
    ]
    ranking = Ranking(experiment="e", lanes=lanes, weights_used={}, notes=[])
    packages = {
        name: ArtifactRef(key=key * 64, path=f"submissions/{name}-0")
        for name, key in (("a", "1"), ("b", "2"))
    }
    refs = list_all_refs(spec, Outcome(ranking, REF, packages))
    checks = [
        make_verify_run("1" * 64, own.apply(engine), lock_digests).ref,
        make_verify_run("2" * 64, engine, lock_digests).ref,
    ]
    assert refs == [REF, packages["a"], checks[0], packages["b"], checks[1]]
    assert checks[0].key != make_verify_run("1" * 64, engine, lock_digests).key
