"""The verdicts against the margin, as tables, badges and columns."""

from __future__ import annotations

import csv
import io

from lanekit.results.ranking import BenchmarkStatistics, Interval, MarginTest, RankedLane, Ranking
from lanekit.results.schema import BenchmarkResult, LaneRecord
from ranker.report.html import render_html
from ranker.report.markdown import render_markdown
from ranker.report.table_csv import render_csv
from ranker.report.tables_margin import make_verdict_badge, tabulate_margins, tabulate_perf_margins

OPEN = MarginTest(
    difference=-0.0031, interval=Interval(low=-0.0125, high=0.0064), margin=0.00375, verdict="cannot tell",
    n_items=2822, detectable=0.0137, n_items_needed=51234,
)  # fmt: skip
SURE = OPEN.model_copy(
    update={"interval": Interval(low=-0.003, high=0.01), "verdict": "no worse", "n_items_needed": None}
)


def make_ranking(perf: MarginTest | None = OPEN, benchmark: MarginTest | None = SURE) -> Ranking:
    result = BenchmarkResult(metric="accuracy", version=1, value=0.37, n_items=2822)
    lanes = [
        RankedLane(rank=None, record=LaneRecord(lane=name, benchmarks={"kmmlu_pro": result}))
        for name in ("baseline", "lane01")
    ]
    lanes[1].perf_margin_test = perf
    lanes[1].benchmark_statistics = {"kmmlu_pro": BenchmarkStatistics(margin_test=benchmark)}
    return Ranking(experiment="", lanes=lanes, weights_used={"kmmlu_pro": 1.0}, notes=[], margin=0.02)


def test_markdown_has_both_tables_and_says_the_units() -> None:
    text = render_markdown(make_ranking(), ["kmmlu_pro"], 0.5)
    perf = text[text.index("## Perf against the margin") : text.index("## Quality by benchmark")]
    assert "Is the loss below 2 % of the baseline's value?" in perf and "percentage points" in perf
    row = next(line for line in perf.splitlines() if line.startswith("| `lane01`"))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        "cannot tell", "−0.31", "[−1.25, 0.64]", "0.38", "1.37", "2,822", "51,234",
    ]  # fmt: skip
    own = text[text.index("## Quality by benchmark") :]
    row = next(line for line in own.splitlines() if line.startswith("| `lane01`") and "no worse" in line)
    assert row.rstrip(" |").endswith("–")
    assert "Perf: cannot tell" in text[: text.index("## How the score is made")]


def test_the_page_has_them_too() -> None:
    page = render_html(make_ranking(), ["kmmlu_pro"], 0.5)
    for expected in ("품질 저하 판정", "필요 문항", "51,234", "Perf: cannot tell", "no worse", "저하 없음"):
        assert expected in page


def test_no_number_of_items_is_said_and_a_ranking_without_verdicts_has_no_table() -> None:
    ranking = make_ranking(OPEN.model_copy(update={"n_items_needed": None, "detectable": None}), None)
    table = tabulate_perf_margins(ranking)
    assert table and [cell.value for cell in table.rows[0].cells[-3:]] == ["–", "2,822", "no number"]
    assert tabulate_margins(ranking, "kmmlu_pro") is None
    assert tabulate_perf_margins(make_ranking(None)) is None
    assert "against the margin" not in render_markdown(make_ranking(None, None), ["kmmlu_pro"], 0.5)


def test_the_badge_holds_what_it_rests_on() -> None:
    badge = make_verdict_badge(SURE)
    assert (badge.words, badge.tone) == ("Perf: no worse", "good")
    assert badge.detail == "Perf −0.31 points [−0.30,\u00a01.00], allowed −0.38"


def test_csv_has_them_in_fractions() -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(make_ranking(), ["kmmlu_pro"]))))
    assert list(rows[0])[-21:-8] == [  # what bounds the speed stands behind them
        "perf_difference", "perf_difference_low", "perf_difference_high", "perf_margin", "perf_verdict",
        "perf_detectable", "perf_items_needed", "kmmlu_pro_difference_low", "kmmlu_pro_difference_high",
        "kmmlu_pro_margin", "kmmlu_pro_verdict", "kmmlu_pro_detectable", "kmmlu_pro_items_needed",
    ]  # fmt: skip
    assert rows[1]["perf_difference"] == "-0.0031" and rows[1]["perf_items_needed"] == "51234"
    assert (rows[1]["kmmlu_pro_verdict"], rows[1]["kmmlu_pro_items_needed"]) == ("no worse", "")
    assert rows[0]["perf_verdict"] == ""
