"""The Korean guide says what the ranking has, and nothing that it has not."""

from __future__ import annotations

from collections.abc import Callable

from lanekit.results.schema import LaneRecord
from ranker.report.html import render_html
from ranker.report.korean_guide import MARGIN, ON_CPU, POOLED, REPLICATED, explain_in_korean
from ranker.scoring.score import rank_lanes

Make = Callable[..., LaneRecord]
WEIGHTS = {"kmmlu_pro": 1.0}


def test_it_tells_of_margin_replicates_and_cpu_where_they_are(make_record: Make) -> None:
    records = [make_record("baseline", seconds=0.1), make_record("a"), make_record("a-r2")]
    for record in records:
        assert record.speed
        record.speed.device_kind = "cpu"
    ranking = rank_lanes(records, WEIGHTS)
    ranking.margin = 0.02
    lines = explain_in_korean(ranking, 0.5, 0.95)
    assert lines[0] == ON_CPU and REPLICATED in lines and POOLED not in lines
    assert MARGIN.format(margin=2) in lines and "0.5 × Perf/Perf_base" in lines[1] and "95 %" in lines[2]


def test_it_is_silent_on_what_is_not_there(make_record: Make) -> None:
    records = [make_record("baseline", seconds=0.1), make_record("a")]
    for record in records:
        assert record.speed
        record.speed.device_kind, record.speed.shapes = "cuda", ""
    lines = explain_in_korean(rank_lanes(records, WEIGHTS), 0.5, 0.95)
    assert not {ON_CPU, REPLICATED, POOLED} & set(lines) and not any("허용 손실" in line for line in lines)


def test_the_page_holds_it_in_korean(make_record: Make) -> None:
    ranking = rank_lanes([make_record("baseline", seconds=0.1), make_record("a")], WEIGHTS)
    page = render_html(ranking, ["kmmlu_pro"], 0.5)
    assert '<details lang="ko" open>' in page and "≈ 표시가 있는 레인끼리는" in page
