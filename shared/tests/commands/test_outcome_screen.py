"""The screen in a terminal: a column, a lane's row, and why a lane has none."""

from __future__ import annotations

import io

from rich.console import Console

from lanekit.commands.outcome_table import show_outcome, show_record
from lanekit.plan.graph import ArtifactRef
from lanekit.results.course import Outcome
from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import LaneRecord
from lanekit.results.screen import ScreenResult


def make_screen(kl: float) -> ScreenResult:
    return ScreenResult(
        n_tokens=8192, n_sequences=40, kl_mean=kl, kl_median=kl, kl_p99=kl, same_top=0.961, ppl=3.0,
        base_ppl=3.0, ppl_ratio=1.0234,
    )  # fmt: skip


def draw(*records: LaneRecord) -> str:
    stream = io.StringIO()
    lanes = [RankedLane(rank=n or None, record=record) for n, record in enumerate(records)]
    ranking = Ranking(experiment="e", lanes=lanes, weights_used={}, notes=[])
    ref = ArtifactRef(key="0" * 64, path="results/summary-0")
    show_outcome(Console(file=stream, width=160), Outcome(ranking, ref))
    return stream.getvalue()


def test_the_outcome_has_a_column_where_a_lane_has_a_screen() -> None:
    text = draw(
        LaneRecord(lane="baseline", screen=make_screen(0.0)),
        LaneRecord(lane="lane01", screen=make_screen(0.0461)),
        LaneRecord(lane="lane02", screen=make_screen(0.00042)),
        LaneRecord(lane="lane03", screen_reason="stage compare_logits: no such format"),
        LaneRecord(lane="lane04", status="failed", reason="x", screen_reason="stage gptq: x"),
    )
    assert "KL" in text and "0.046" in text and "4.2e-04" in text and "0.000" in text
    assert "lane03: ranked without its screen: stage compare_logits: no such format" in text
    assert "lane04: ranked without" not in text
    assert "KL" not in draw(LaneRecord(lane="baseline"))


def test_a_lanes_record_has_a_row() -> None:
    stream = io.StringIO()
    show_record(Console(file=stream, width=160), LaneRecord(lane="lane01", screen=make_screen(0.0461)))
    assert "screen (8192 held-out tokens)" in stream.getvalue()
    assert "KL 0.046, same top-1 96.1%, PPL/base 1.0234" in stream.getvalue()
