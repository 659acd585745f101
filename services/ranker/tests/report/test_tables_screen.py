"""The screen in the reports: in table, page and CSV, with the reason where a lane has none."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable

import pytest

from lanekit.results.ranking import Ranking
from lanekit.results.schema import LaneRecord
from lanekit.results.screen import ScreenResult
from ranker.report.html import render_html
from ranker.report.markdown import render_markdown
from ranker.report.table_csv import render_csv
from ranker.report.tables_screen import tabulate_screens
from ranker.scoring.finite import drop_non_finite
from ranker.scoring.score import rank_lanes

WEIGHTS = {"kmmlu_pro": 0.5, "kmmlu_redux": 0.5}
REASON = "stage compare_logits: transformers cannot load this model"
MakeRecord = Callable[..., LaneRecord]


def make_screen(kl: float, text: str = "t", error: float | None = 0.004) -> ScreenResult:
    return ScreenResult(
        n_tokens=8192, n_sequences=40, kl_mean=kl, kl_error=error, kl_median=kl / 2, kl_p99=10 * kl,
        same_top=1 - kl, same_top_error=error, ppl=3 + kl, base_ppl=3.0, ppl_ratio=1 + kl,
        ppl_ratio_error=error, text=text, sequence_tokens=[1], sequence_kl=[kl],
    )  # fmt: skip


@pytest.fixture
def ranking(make_record: MakeRecord) -> Ranking:
    return rank_lanes(
        [
            make_record("baseline", seconds=0.1, screen=make_screen(0.0, error=0.0)),
            make_record("lane01_w4", screen=make_screen(0.046)),
            make_record("lane02_w8", pro=0.5, screen=make_screen(0.00042, error=None)),
            make_record("lane03_odd", pro=0.6, screen_reason=REASON),
        ],
        WEIGHTS,
    )


def test_a_lane_without_its_screen_keeps_its_rank_and_the_score_ignores_the_screen(
    ranking: Ranking, make_record: MakeRecord
) -> None:
    lanes = {lane.record.lane: lane for lane in ranking.lanes}
    assert lanes["lane03_odd"].rank == 1 and lanes["lane03_odd"].record.status == "ok"
    plain = rank_lanes([make_record("baseline", seconds=0.1), make_record("lane01_w4")], WEIGHTS)
    assert lanes["lane01_w4"].score == plain.lanes[1].score


def test_the_markdown_has_a_column_a_table_and_the_reason(ranking: Ranking) -> None:
    text = render_markdown(ranking, list(WEIGHTS), 0.5)
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("| rank"))
    assert [cell.strip() for cell in head.split("|")].index("KL") > 0
    column = [cell.strip() for cell in head.split("|")].index("KL")
    row = next(line for line in lines if line.startswith("| ") and "`lane01_w4`" in line)
    assert row.split("|")[column].strip() == "0.0460"
    odd = next(line for line in lines if line.startswith("| ") and "`lane03_odd`" in line)
    assert odd.split("|")[column].strip() == "–"
    table = text[text.index("## Screen: distance from the base") :]
    assert "8,192 answer tokens of 40 held-out conversations, the same for every lane" in table
    cells = [cell.strip() for cell in table[table.index("| `lane01_w4`") :].splitlines()[0].split("|")]
    assert cells[2:8] == [
        "0.0460 ± 0.0040", "0.0230", "0.4600", "95.4 ± 0.4 %", "3.046", "1.0460 ± 0.0040",
    ]  # fmt: skip
    assert "4.2e-04" in table, "what lies below 0.001 has its digits"
    assert f"- No screen of `lane03_odd`: {REASON}" in text


def test_the_page_has_the_same_table(ranking: Ranking) -> None:
    page = render_html(ranking, list(WEIGHTS), 0.5)
    for expected in ("Screen: distance from the base", "0.0460 ± 0.0040", "top-1 95.4 %", "No screen of"):
        assert expected in page


def test_the_csv_has_its_columns_at_the_end(ranking: Ranking, make_record: MakeRecord) -> None:
    plain = rank_lanes([make_record("baseline", seconds=0.1), make_record("lane01_w4")], WEIGHTS)
    before = render_csv(plain, list(WEIGHTS)).splitlines()[0].split(",")
    after = render_csv(ranking, list(WEIGHTS)).splitlines()[0].split(",")
    assert after[: len(before)] == before
    assert after[len(before) :] == [
        "kl_mean", "kl_error", "kl_median", "kl_p99", "same_top", "same_top_error", "ppl", "ppl_ratio",
        "ppl_ratio_error", "n_tokens", "n_sequences", "screen_reason",
    ]  # fmt: skip
    rows = {row["lane"]: row for row in csv.DictReader(io.StringIO(render_csv(ranking, list(WEIGHTS))))}
    assert (rows["lane02_w8"]["kl_mean"], rows["lane02_w8"]["kl_error"]) == ("0.00042", "")
    assert (rows["lane03_odd"]["kl_mean"], rows["lane03_odd"]["screen_reason"]) == ("", REASON)


def test_screens_of_other_text_are_said_to_be_so(make_record: MakeRecord) -> None:
    records = [
        make_record("baseline", screen=make_screen(0.0)),
        make_record("a", screen=make_screen(0.1, "u")),
    ]
    table = tabulate_screens(rank_lanes(records, WEIGHTS))
    assert table is not None and "not the same for every lane" in table.note


def test_without_screens_there_is_no_table(make_record: MakeRecord) -> None:
    ranking = rank_lanes([make_record("baseline"), make_record("a")], WEIGHTS)
    assert tabulate_screens(ranking) is None
    assert "KL" not in render_markdown(ranking, list(WEIGHTS), 0.5)


def test_a_screen_that_is_not_finite_counts_as_none(make_record: MakeRecord) -> None:
    record = make_record("a", screen=make_screen(0.1).model_copy(update={"kl_p99": math.nan}))
    found = drop_non_finite(record)
    assert found.screen is None and found.screen_reason == "its numbers are not finite"
    assert drop_non_finite(make_record("a", screen=make_screen(0.1))).screen == make_screen(0.1)
