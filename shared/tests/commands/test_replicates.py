"""Replicates as commands ask for them and tell of them: the option, the plan's lines, table and status."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console
from snapshots import RUN_ID

from lanekit.commands.drawing import name_lanes
from lanekit.commands.outcome_table import show_outcome
from lanekit.commands.replicates import add_replicates_option, choose_replicates, describe_replicates
from lanekit.commands.stack.cli import Stack
from lanekit.commands.stack.status import describe_run_status
from lanekit.errors import InputError
from lanekit.plan.graph import ArtifactRef
from lanekit.results.course import Outcome
from lanekit.results.outcome import LaneOutcome, RunOutcome
from lanekit.results.ranking import DrawSpread, RankedLane, Ranking, Replicates
from lanekit.results.schema import LaneRecord
from lanekit.spec.lane_file import Lane, LaneStage
from lanekit.spec.quantization import GptqParams
from lanekit.spec.stages import STAGE_TYPES

GPTQ = LaneStage(STAGE_TYPES["gptq"], GptqParams(scheme="W4A16"), Path("lane01_x.yaml"), 1)
LANES = [Lane("lane01_x", "t", "g", (GPTQ,)), Lane("lane02_x", "t", "g", (GPTQ,), replicates=2)]


def test_the_option_explains_itself_and_wants_a_number() -> None:
    parser = argparse.ArgumentParser()
    add_replicates_option(parser)
    assert parser.parse_args([]).replicates is None
    assert parser.parse_args(["--replicates", "3"]).replicates == 3
    text = " ".join(parser.format_help().split())
    assert "the package stays the first's" in text and "its evaluation again, no timing" in text


def test_finalists_are_named() -> None:
    chosen = choose_replicates(LANES, 3, is_named=True, how="--only A,B")
    assert [lane.replicates for lane in chosen] == [3, 3]
    with pytest.raises(InputError, match="--replicates 3 is for lanes that are named") as caught:
        choose_replicates(LANES, 3, is_named=False, how="--only A,B")
    assert caught.value.remedy == ("name the finalists: --only A,B; or write `replicates: 3` into lane files")


def test_without_the_option_the_files_decide_and_one_turns_them_off() -> None:
    assert choose_replicates(LANES, None, is_named=False, how="") == LANES
    assert [x.replicates for x in choose_replicates(LANES, 1, is_named=False, how="")] == [1, 1]


def test_the_plan_names_the_replicates_what_varies_and_whose_package_it_is() -> None:
    assert list(describe_replicates(LANES)) == [
        "lane02_x: 2 replicates (lane02_x, lane02_x-r2), drawn anew for gptq; "
        "the package is the first's, lane02_x"
    ]


def test_progress_tells_replicates_apart() -> None:
    assert name_lanes(["lane02_x-r2", "lane02_x"]) == "lane02-r2 +1"


def test_the_final_table_marks_means_and_tells_why_a_replicate_failed() -> None:
    found = Replicates(
        lanes=["a", "a-r2", "a-r3"], perfs=[0.4, 0.5, None], scores=[0.5, 0.6, None],
        score=DrawSpread(mean=0.55, deviation=0.07),
    )  # fmt: skip
    lane = RankedLane(rank=1, record=LaneRecord(lane="a"), score=0.55, replicates=found)
    failed = LaneRecord(lane="a-r3", status="failed", reason="stage gptq: no memory")
    ranking = Ranking(
        experiment="e", lanes=[RankedLane(rank=None, record=LaneRecord(lane="baseline")), lane],
        weights_used={}, notes=[], replicates=[RankedLane(rank=None, record=failed)],
    )  # fmt: skip
    stream = io.StringIO()
    ref = ArtifactRef(key="0" * 64, path="results/summary-0")
    show_outcome(Console(file=stream, width=160), Outcome(ranking, ref, packages={"a": ref}))
    text = stream.getvalue()
    assert "top1 ×3" in text and "×3 the mean of three replicates, the package is the first's" in text
    assert "a-r3: failed: stage gptq: no memory" in text
    lane.replicates = None
    stream = io.StringIO()
    show_outcome(Console(file=stream, width=160), Outcome(ranking, ref))
    assert "×3" not in stream.getvalue()


def test_the_status_of_a_run_that_ended_says_what_is_a_replicate() -> None:
    records = (
        LaneOutcome(lane="a", status="ok", rank=1, score=0.55),
        LaneOutcome(lane="a-r2", status="ok", score=0.6),
        LaneOutcome(lane="a-r3", status="failed", reason="stage gptq: no memory\n  remedy: less"),
        LaneOutcome(lane="b", status="unscored"),
    )
    ended = RunOutcome(run_id=RUN_ID, phase="complete", records=records)
    stack = SimpleNamespace(
        read_outcome=lambda _: ended,
        redis=SimpleNamespace(get=lambda _: None),
        documents=SimpleNamespace(read=lambda *_: None),
    )
    status = describe_run_status(cast(Stack, stack), RUN_ID)
    assert status.lanes == {
        "a": "rank 1, score 0.5500", "a-r2": "a replicate, score 0.6000", "a-r3": "failed", "b": "unscored",
    }  # fmt: skip
    assert status.failed["a-r3"]["remedy"] == "less"
