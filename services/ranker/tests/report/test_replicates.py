"""What the reports say of a lane's draws, in Markdown, page and CSV alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from lanekit.results.ranking import Interval, Ranking
from lanekit.results.schema import LaneRecord
from ranker.report.html import render_html
from ranker.report.markdown import render_markdown
from ranker.report.table_csv import render_csv
from ranker.report.tables_replicates import NOTE, tabulate_replicates
from ranker.scoring.score import rank_lanes

Make = Callable[..., LaneRecord]
WEIGHTS = {"kmmlu_pro": 0.5, "kmmlu_redux": 0.5}
BENCHMARKS = list(WEIGHTS)


@pytest.fixture
def ranking(make_record: Make) -> Ranking:
    """One lane of three draws, one of two of which one failed, one of a single draw."""
    values = {"baseline": 0.4, "lane01_w4": 0.5, "lane01_w4-r2": 0.3, "lane01_w4-r3": 0.4, "lane02_w8": 0.4}
    records = [make_record(name, pro=pro) for name, pro in values.items()]
    records += [
        make_record("lane03_sft"),
        LaneRecord(lane="lane03_sft-r2", status="failed", reason="no disk"),
    ]
    found = rank_lanes(records, WEIGHTS, experiment="test")
    for lane in found.lanes:
        if lane.replicates and lane.replicates.perf:
            lane.replicates.perf_interval = Interval(low=0.2, high=0.8)
    return found


def test_the_table_shows_each_value_mean_spread_and_whose_package_it_is(ranking: Ranking) -> None:
    table = tabulate_replicates(ranking)
    assert table and len(table.rows) == 2
    whole, part = ([cell.value for cell in row.cells] for row in table.rows)
    assert whole[:4] == ["`lane01_w4`", "3", "0.5000 ± 0.0500", "0.5500, 0.4500, 0.5000"]
    assert whole[5].count(",") == 2 and whole[6] == "the first's: lane01_w4"
    assert table.rows[0].cells[2].below.startswith("[0.200,")
    assert whole[7] == "0.4000 ± 0.1000"
    assert part[1:4] == ["1 of 2", "–", "0.5000, –"]
    assert len(table.heads) == len(whole)


def test_no_table_without_replicates(make_record: Make) -> None:
    ranking = rank_lanes([make_record("baseline"), make_record("a")], WEIGHTS)
    assert tabulate_replicates(ranking) is None
    assert "Replicates over draws" not in render_markdown(ranking, BENCHMARKS, 0.5)
    assert "replicates" not in render_csv(ranking, BENCHMARKS).splitlines()[0]


def test_every_report_says_why_the_package_is_the_firsts(ranking: Ranking) -> None:
    markdown = render_markdown(ranking, BENCHMARKS, 0.5)
    page = render_html(ranking, BENCHMARKS, 0.5)
    for text in (markdown, " ".join(page.replace("&#x27;", "'").split())):
        assert NOTE in text
        assert "0.5500, 0.4500, 0.5000" in text
        assert "× mean of 3 draws" in text
        assert "lane03_sft: its numbers are the first replicate's alone" in text.replace("<wbr>", "")
    assert "반복" in page and "3회 평균" in page


def test_replicates_have_no_row_in_the_main_table(ranking: Ranking) -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(ranking, BENCHMARKS))))
    assert [row["lane"] for row in rows] == [lane.record.lane for lane in ranking.lanes]
    by_lane = {row["lane"]: row for row in rows}
    lane = next(lane for lane in ranking.lanes if lane.record.lane == "lane01_w4")
    assert lane.replicates and lane.replicates.score
    row = by_lane["lane01_w4"]
    assert float(row["score"]) == lane.score == lane.replicates.score.mean
    assert row["replicates"] == "lane01_w4 lane01_w4-r2 lane01_w4-r3"
    assert [float(value) for value in row["score_draws"].split()] == lane.replicates.scores
    assert float(row["perf_deviation"]) == pytest.approx(0.05)
    assert (row["perf_low"], row["perf_high"]) == ("0.2", "0.8")
    assert by_lane["lane03_sft"]["score_draws"].endswith(" -")
    assert by_lane["lane02_w8"]["replicates"] == by_lane["lane02_w8"]["score_deviation"] == ""
    assert list(row)[-7:] == [
        "replicates", "perf_draws", "perf_deviation", "perf_low", "perf_high", "score_draws",
        "score_deviation",
    ]  # fmt: skip
