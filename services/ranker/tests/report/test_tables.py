"""One table, two writers: what stands below a value, details, marks; the same bytes twice."""

from __future__ import annotations

import pytest

from lanekit.results.ranking import Ranking
from lanekit.results.schema import LaneRecord
from ranker.report.html import render_html
from ranker.report.html_parts import draw_grid
from ranker.report.markdown import draw_table, render_markdown
from ranker.report.table import LANE, Badge, Cell, Head, Row, Table
from ranker.report.tables_quality import tabulate_benchmark
from ranker.report.tables_ranking import tabulate_ranking
from ranker.report.tables_speed import tabulate_costs, tabulate_forms
from ranker.scoring.score import rank_lanes

WEIGHTS = {"kmmlu_pro": 0.25, "kmmlu_redux": 0.25, "komt_bench": 0.5}
TABLE = Table(
    "Title",
    "제목",
    "A note.",
    (
        LANE,
        Head("score", "점수", below="interval"),
        Head("gain", below="aside"),
        Head("part", is_detail=True),
        Head("status", kind="text"),
    ),
    (
        Row((
            Cell("`a_b` ⚠", "its title"),
            Cell("0.5", "[0.4,\u00a00.6]", is_best=True),
            Cell("+1 %", "9 tokens"),
            Cell("0.25"),
            Cell("", badges=(Badge("ok", tone="good"), Badge("◆ x|y", "파레토", detail="why"))),
        )),
    ),
)  # fmt: skip


@pytest.fixture
def ranking(records: list[LaneRecord]) -> Ranking:
    return rank_lanes(records, WEIGHTS, experiment="test")


def test_markdown_gives_intervals_a_column_and_leaves_details_to_the_page() -> None:
    assert draw_table(TABLE) == [
        "## Title",
        "",
        "A note.",
        "",
        "| lane    |   score |   interval |            gain | status     |",
        "| :------ | ------: | ---------: | --------------: | :--------- |",
        "| `a_b` ⚠ | **0.5** | [0.4, 0.6] | +1 % (9 tokens) | ok, ◆ x\\|y |",
        "",
    ]


def test_the_page_shows_all_of_a_table() -> None:
    page = draw_grid(TABLE)
    for expected in (
        '<code>a_<wbr>b</code> <span title="contaminated">⚠</span><div class="sub">its title</div>',
        '<td class="num best">0.5<small>[0.4,\u00a00.6]</small></td>',
        '<td class="num">+1 %<small>9 tokens</small></td>',
        '<td class="num">0.25</td>',
        '<span class="badge good">ok</span>',
        '<span class="badge" title="why">◆ x|y <span class="ko" lang="ko">파레토</span></span>',
    ):
        assert expected in page, expected


def test_a_table_without_rows_says_why(ranking: Ranking) -> None:
    table = tabulate_benchmark(ranking, "komt_bench")
    assert not table.rows and table.note == "no judge is set"
    assert draw_table(table, "###") == ["### komt_bench (judge, not in Perf)", "", "no judge is set", ""]
    assert draw_grid(table) == ""
    assert "no judge is set</p></details>" in render_html(ranking, list(WEIGHTS), 0.5)
    assert tabulate_forms(ranking) is None and tabulate_costs(ranking) is None and draw_table(None) == []


def test_every_row_has_a_cell_for_each_head_and_the_baseline_is_known(ranking: Ranking) -> None:
    table = tabulate_ranking(ranking, list(WEIGHTS))
    assert {len(row.cells) for row in table.rows} == {len(table.heads)}
    assert [row.is_base for row in table.rows] == [True] + [False] * (len(ranking.lanes) - 1)


def test_both_reports_are_the_same_bytes_twice(ranking: Ranking) -> None:
    for render in (render_markdown, render_html):
        assert render(ranking, list(WEIGHTS), 0.5) == render(ranking, list(WEIGHTS), 0.5)
